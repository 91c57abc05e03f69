"""Time the CUDA kernels beside other projects' operators on one GPU, interleaved in one process.

    python benchmarks/bench_cuda_peers.py [--peers FOLDER] [--build] [--repeats N] [--output FILE]

FOLDER holds other projects' checkouts, which are not part of this repository:
    Deformable-DETR/models/ops   the original operator (float32 only: other rows widen its value)
    DCNv4/DCNv4_op               FlashDeformAttn
Copies of them, with the names of PyTorch that are gone replaced, are compiled here with
torch.utils.cpp_extension into FOLDER/built, which takes some minutes; --build does only that, and
needs no GPU but TORCH_CUDA_ARCH_LIST. One that is not there is named as absent, or with its error.
Each repeat runs all of them one after the other, each on arguments laid out as it wants them; times
are CUDA events, medians, and ours over theirs. The GPU waits until a call is queued whole: the
host's own time does not count. "general" is ours without square tiles of queries.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bench_ops import POINTS, make_arguments
from machine import describe_machine
from torch import Tensor

from ddetr_ops import doctor, ms_deform_attn, use_kernels

Operator = Callable[..., Tensor]
RESULTS = Path(__file__).parent / "results"
GENERAL = "general"  # ours without square tiles of queries
IMAGE_HW, BATCH = (800, 1066), 4
IM2COL_STEP = 64
HEAD_START_CYCLES = 4_000_000  # of the GPU's clock, about two milliseconds
MODERN = (  # what PyTorch has dropped, and what stands for it
    (r"<THC/THCAtomics\.cuh>", "<ATen/cuda/Atomic.cuh>"),
    (r"\.type\(\)\.is_cuda\(\)", ".is_cuda()"),
    (r"\.type\(\)", ".scalar_type()"),
    (r"\.data<", ".data_ptr<"),
)


@dataclass(frozen=True)
class Peer:
    """An operator, and how it wants the arguments (value, shapes, starts, locations, weights)."""

    operator: Operator
    prepare: Callable[[list[Tensor]], list[Tensor]] = list


def main() -> None:
    """Measure every dtype and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder = os.environ.get("DDETR_PEERS")
    parser.add_argument("--peers", type=Path, default=Path(folder) if folder else None)
    parser.add_argument("--build", action="store_true")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--output", type=Path, default=RESULTS / "ops_cuda_peers.json")
    options = parser.parse_args()
    if options.build:
        if options.peers is None:
            parser.error("--build needs --peers FOLDER")
        for name in _PEERS:
            compile_peer(options.peers, name)
        return
    if problem := doctor(self_test=False).problems["cuda"]:
        sys.exit(f"bench_cuda_peers: {problem}")
    peers, absent = find_peers(options.peers)
    report: dict[str, Any] = {
        "machine": {**describe_machine("torch"), "gpu": torch.cuda.get_device_name()},
        "case": f"encoder {IMAGE_HW[0]}x{IMAGE_HW[1]} N{BATCH}",
        "absent": absent,
        "rows": [measure(dtype, peers, options.repeats) for dtype in _DTYPES],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


def find_peers(folder: Path | None) -> tuple[dict[str, Peer], dict[str, str]]:
    """Operators taking our arguments by name, and why the others are absent."""
    found, absent = {}, {}
    for name, (path, _, load) in _PEERS.items():
        if folder is None or not (folder / path).is_dir():
            absent[name] = f"no {path} in {folder or 'DDETR_PEERS, which is not set'}"
            continue
        try:
            found[name] = load(folder / path, compile_peer(folder, name))
        except (ImportError, OSError, RuntimeError) as error:  # whatever its compiler says
            absent[name] = f"does not build: {str(error)[-2000:]}"
    return found, absent


def compile_peer(folder: Path, name: str) -> Any:
    """The extension module of a peer whose checkout lies in the folder."""
    path, extension, _ = _PEERS[name]
    return compile_extension(extension, folder / path / "src", folder / "built")


def compile_extension(name: str, sources: Path, built: Path) -> Any:
    """A copy of a peer's C++ and CUDA sources as a module; built once for a torch and a Python."""
    from torch.utils import cpp_extension

    version = f"{torch.__version__}-{sys.implementation.cache_tag}"
    folder = built / f"{name}-{version}"
    library = folder / f"{name}.so"
    if library.exists():
        return load_library(name, library)
    shutil.rmtree(folder, ignore_errors=True)
    copy = shutil.copytree(sources, folder / "src")
    files = []
    for path in sorted(it for it in copy.rglob("*") if it.is_file()):
        text = path.read_text()
        for old, new in MODERN:
            text = re.sub(old, new, text)
        path.write_text(text)
        files += [str(path)] if path.suffix in (".cpp", ".cu") else []
    return cpp_extension.load(
        name,
        files,
        build_directory=str(folder),
        extra_include_paths=[str(copy)],
        extra_cflags=["-DWITH_CUDA", "-w", *libraries_includes()],
        extra_cuda_cflags=["-DWITH_CUDA", "-O3", "-w", *libraries_includes()],
        with_cuda=True,
    )


def load_library(name: str, library: Path) -> Any:
    """The extension module that lies there."""
    spec = importlib.util.spec_from_file_location(name, library)
    if spec is None or spec.loader is None:
        raise ImportError(f"{library} is no extension module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def libraries_includes() -> list[str]:
    """Where torch's requirements have headers of CUDA's libraries, if the toolkit has none."""
    spec = importlib.util.find_spec("nvidia")
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [path for each in folders for path in Path(each).glob("cu*/include")]
    return [word for path in found for word in ("-isystem", str(path))]


def load_original(_folder: Path, module: Any) -> Peer:
    """ms_deform_attn_forward and _backward of Deformable-DETR, which know float32 alone."""
    return Peer(original_operator(module), lambda arguments: [arguments[0].float(), *arguments[1:]])


def original_operator(module: Any) -> Operator:
    """The original's two functions as one that can be differentiated."""

    class Original(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Tensor) -> Tensor:
            ctx.save_for_backward(*inputs)
            output: Tensor = module.ms_deform_attn_forward(*inputs, IM2COL_STEP)
            return output

        @staticmethod
        def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
            value, locations, weights = module.ms_deform_attn_backward(
                *ctx.saved_tensors, grad_output.contiguous(), IM2COL_STEP
            )
            return value, None, None, locations, weights

    return Original.apply  # type: ignore[no-any-return]


def load_flash(folder: Path, module: Any) -> Peer:
    """FlashDeformAttn of DCNv4: its own softmax, so it gets logits beside the locations."""
    sys.modules["DCNv4.ext"] = module
    sys.path.insert(0, str(folder))
    from DCNv4.functions.flash_deform_attn_func import FlashDeformAttnFunction

    return Peer(flash_operator(FlashDeformAttnFunction.apply), flash_arguments)


def flash_operator(apply: Operator) -> Operator:
    """With the number of points that this benchmark has."""

    def flash(value: Tensor, shapes: Tensor, starts: Tensor, both: Tensor) -> Tensor:
        return apply(value, shapes, starts, both, IM2COL_STEP, POINTS)

    return flash


def flash_arguments(arguments: list[Tensor]) -> list[Tensor]:
    """One tensor (B, Q, M, L*P*2 + L*P) of value's dtype: all locations, then all logits."""
    value, shapes, starts, locations, weights = arguments
    both = torch.cat([locations.flatten(3), weights.log().flatten(3)], -1)
    return [value, shapes, starts, both.to(value.dtype).contiguous()]


def measure(dtype: str, peers: dict[str, Peer], repeats: int) -> dict[str, Any]:
    """Median milliseconds of each operator, forward and backward, and ours over the peers'."""
    options = argparse.Namespace(dtype=dtype, device="cpu")
    case = {"kind": "encoder", "image_hw": IMAGE_HW, "batch": BATCH}
    arguments = [tensor.detach().cuda() for tensor in make_arguments(case, options)]
    all_peers = {"ours": Peer(ms_deform_attn), GENERAL: Peer(ms_deform_attn), **peers}
    prepared = {name: peer.prepare(arguments) for name, peer in all_peers.items()}
    found, failed = differences(all_peers, prepared)
    row: dict[str, Any] = {"dtype": dtype, "largest_difference": found, "failed": failed}
    all_peers = {name: peer for name, peer in all_peers.items() if name in found}
    times: dict[str, dict[str, list[float]]] = {
        name: {"forward": [], "backward": []} for name in all_peers
    }
    for _ in range(repeats + 3):
        for name, peer in all_peers.items():
            with use_kernels(cuda_tiles=name != GENERAL):
                forward_ms, backward_ms = time_once(peer.operator, prepared[name])
            times[name]["forward"].append(forward_ms)
            times[name]["backward"].append(backward_ms)
    for direction in ("forward", "backward"):
        medians = {name: statistics.median(times[name][direction][3:]) for name in all_peers}
        row[f"{direction}_ms"] = {name: round(ms, 4) for name, ms in medians.items()}
        row[f"{direction}_ours_over"] = {
            name: round(medians["ours"] / ms, 3) for name, ms in medians.items() if name != "ours"
        }
    return row


@torch.no_grad()
def differences(
    peers: dict[str, Peer], prepared: dict[str, list[Tensor]]
) -> tuple[dict[str, float], dict[str, str]]:
    """Of each output from ours, relative to the largest number; and why others have none."""
    ours = peers["ours"].operator(*prepared["ours"]).float()
    found, failed = {}, {}
    for name, peer in peers.items():
        try:
            with use_kernels(cuda_tiles=name != GENERAL):
                output = peer.operator(*prepared[name]).float()
        except RuntimeError as error:  # it has no kernel for the dtype, or none that starts
            failed[name] = str(error)[:500]
        else:
            found[name] = float((output - ours).abs().max() / ours.abs().max())
    return found, failed


def time_once(operator: Operator, arguments: list[Tensor]) -> tuple[float, float]:
    """Milliseconds of one forward and one backward pass on the GPU."""
    leaves = [t.detach().requires_grad_(t.is_floating_point()) for t in arguments]
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(4)]
    torch.cuda.synchronize()
    torch.cuda._sleep(HEAD_START_CYCLES)
    marks[0].record()
    output = operator(*leaves)
    marks[1].record()
    upstream = torch.ones_like(output)
    torch.cuda.synchronize()
    torch.cuda._sleep(HEAD_START_CYCLES)
    marks[2].record()
    torch.autograd.grad(output, [t for t in leaves if t.requires_grad], upstream)
    marks[3].record()
    torch.cuda.synchronize()
    return marks[0].elapsed_time(marks[1]), marks[2].elapsed_time(marks[3])


_DTYPES = ("float32", "float16", "bfloat16")
_PEERS: dict[str, tuple[str, str, Callable[[Path, Any], Peer]]] = {  # path, module, loader
    "Deformable-DETR": ("Deformable-DETR/models/ops", "peer_deformable_detr", load_original),
    "FlashDeformAttn": ("DCNv4/DCNv4_op", "ext", load_flash),
}


if __name__ == "__main__":
    main()
