"""Time the CUDA kernels beside other projects' operators on one GPU, interleaved in one process.

    python benchmarks/bench_cuda_peers.py [--peers FOLDER] [--repeats N] [--output FILE]

FOLDER holds other projects' checkouts, which are not part of this repository:
    Deformable-DETR/models/ops   the original operator (float32 only)
    DCNv4/DCNv4_op               FlashDeformAttn (float32, float16)
They are compiled here with torch.utils.cpp_extension; one that is not there is named as absent.
Each repeat runs all of them one after the other; times are CUDA events, medians, and ours over
theirs. "general" is ours without square tiles of queries.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bench_ops import make_arguments
from machine import describe_machine
from torch import Tensor

from ddetr_ops import _native, ms_deform_attn

Operator = Callable[..., Tensor]
RESULTS = Path(__file__).parent / "results"
IMAGE_HW, BATCH = (800, 1066), 4
IM2COL_STEP = 64


def main() -> None:
    """Measure every dtype and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder = os.environ.get("DDETR_PEERS")
    parser.add_argument("--peers", type=Path, default=Path(folder) if folder else None)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--output", type=Path, default=RESULTS / "ops_cuda_peers.json")
    options = parser.parse_args()
    if problem := _native.problem_on("cuda"):
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


def find_peers(folder: Path | None) -> tuple[dict[str, Operator], dict[str, str]]:
    """Operators taking our arguments by name, and why the others are absent."""
    found, absent = {}, {}
    for name, (place, load) in _PEERS.items():
        sources = folder / place if folder else None
        if sources is None or not sources.is_dir():
            absent[name] = f"no {place} in {folder or 'DDETR_PEERS, which is not set'}"
            continue
        try:
            found[name] = load(sources)
        except (ImportError, OSError, RuntimeError) as error:  # whatever its compiler says
            absent[name] = f"does not build: {error}"[:500]
    return found, absent


def compile_extension(name: str, sources: Path) -> Any:
    """A peer's C++ and CUDA sources as a module."""
    from torch.utils import cpp_extension

    files = [str(path) for path in sorted(sources.rglob("*")) if path.suffix in (".cpp", ".cu")]
    return cpp_extension.load(
        name,
        files,
        extra_include_paths=[str(sources)],
        extra_cflags=["-DWITH_CUDA"],
        extra_cuda_cflags=["-DWITH_CUDA", "-O3"],
        with_cuda=True,
    )


def load_original(folder: Path) -> Operator:
    """ms_deform_attn_forward and _backward of Deformable-DETR."""
    module = compile_extension("peer_deformable_detr", folder / "src")
    return original_operator(module)


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


def load_flash(folder: Path) -> Operator:
    """FlashDeformAttn of DCNv4: its own softmax, so it gets logits beside the locations."""
    compiled = compile_extension("ext", folder / "src")
    sys.modules["DCNv4.ext"] = compiled
    sys.path.insert(0, str(folder))
    from DCNv4.functions.flash_deform_attn_func import FlashDeformAttnFunction

    def flash(value: Tensor, shapes: Tensor, starts: Tensor, places: Tensor, w: Tensor) -> Tensor:
        return flash_call(FlashDeformAttnFunction.apply, value, shapes, starts, places, w)

    return flash


def flash_call(
    apply: Operator, value: Tensor, shapes: Tensor, starts: Tensor, places: Tensor, weights: Tensor
) -> Tensor:
    """One tensor (B, Q, M, L*P*2 + L*P) of value's dtype: all locations, then all logits."""
    points = weights.shape[-1]
    both = torch.cat([places.flatten(3), weights.log().flatten(3)], -1).to(value.dtype)
    return apply(value, shapes, starts, both.contiguous(), IM2COL_STEP, points)


def accepts(name: str, dtype: str) -> bool:
    """Whether an operator has kernels for the dtype."""
    return dtype in _ONLY.get(name, _DTYPES)


def measure(dtype: str, peers: dict[str, Operator], repeats: int) -> dict[str, Any]:
    """Median milliseconds of each operator, forward and backward, and ours over the peers'."""
    options = argparse.Namespace(dtype=dtype, device="cpu")
    case = {"kind": "encoder", "image_hw": IMAGE_HW, "batch": BATCH}
    arguments = [tensor.detach().cuda() for tensor in make_arguments(case, options)]
    operators: dict[str, Operator] = {"ours": ms_deform_attn, "general": general}
    operators |= {name: peer for name, peer in peers.items() if accepts(name, dtype)}
    times: dict[str, dict[str, list[float]]] = {
        name: {"forward": [], "backward": []} for name in operators
    }
    for _ in range(repeats + 3):
        for name, operator in operators.items():
            forward_ms, backward_ms = time_once(operator, arguments)
            times[name]["forward"].append(forward_ms)
            times[name]["backward"].append(backward_ms)
    row: dict[str, Any] = {"dtype": dtype}
    for direction in ("forward", "backward"):
        medians = {name: statistics.median(times[name][direction][3:]) for name in operators}
        row[f"{direction}_ms"] = {name: round(ms, 4) for name, ms in medians.items()}
        row[f"{direction}_ours_over"] = {
            name: round(medians["ours"] / ms, 3) for name, ms in medians.items() if name != "ours"
        }
    return row


def general(*arguments: Any) -> Tensor:
    """Ours without tiles; the switch holds for the backward pass only if nobody resets it."""
    _native._CUDA_TILES = False
    return ms_deform_attn(*arguments)


def time_once(operator: Operator, arguments: list[Tensor]) -> tuple[float, float]:
    """Milliseconds of one forward and one backward pass on the GPU."""
    leaves = [t.detach().requires_grad_(t.is_floating_point()) for t in arguments]
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(3)]
    try:
        torch.cuda.synchronize()
        marks[0].record()
        output = operator(*leaves)
        marks[1].record()
        upstream = torch.ones_like(output)
        torch.cuda.synchronize()
        middle = torch.cuda.Event(enable_timing=True)
        middle.record()
        torch.autograd.grad(output, [t for t in leaves if t.requires_grad], upstream)
        marks[2].record()
        torch.cuda.synchronize()
    finally:
        _native._CUDA_TILES = True
    return marks[0].elapsed_time(marks[1]), middle.elapsed_time(marks[2])


_DTYPES = ("float32", "float16", "bfloat16")
_PEERS: dict[str, tuple[str, Callable[[Path], Operator]]] = {
    "Deformable-DETR": ("Deformable-DETR/models/ops", load_original),
    "FlashDeformAttn": ("DCNv4/DCNv4_op", load_flash),
}
_ONLY = {"Deformable-DETR": ("float32",), "FlashDeformAttn": ("float32", "float16")}


if __name__ == "__main__":
    main()
