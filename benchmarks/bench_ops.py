"""Time the operator against grid_sample, eager and compiled, interleaved in one process.

    python benchmarks/bench_ops.py [--repeats N] [--threads 1 2] [--device cpu] [--output FILE]
    python benchmarks/bench_ops.py --dtype bfloat16 --beside-float32

Each repeat runs the reference and the native kernels one after the other, so that both see the same
load; the ratio of the minima is the best estimate for a quiet machine, the medians stand beside it.
Before each forward pass its inputs are written anew, as the projections in front of the operator
do: otherwise the caches would hold what the other's backward pass has left there. glibc takes
arrays of more than 32 MB from the operating system anew in each call, and their pages can cost the
reference half of its time; with --keep-memory it keeps what is freed.
--compiled adds torch.compile of the reference on the encoder shapes of batch 1. The rows "points"
time what the layer computes in front of the operator. --beside-float32 compares the native kernels
in 16 bits with themselves in float32, "reference" then. The JSON names the machine and the load.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from machine import describe_machine
from torch import Tensor

from ddetr_ops import (
    doctor,
    ms_deform_attn,
    ms_deform_attn_reference,
    sampling_points,
    sampling_points_reference,
)

HEADS, CHANNELS, POINTS = 8, 32, 4
STRIDES = (8, 16, 32, 64)
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
KINDS = ("encoder", "decoder", "points")
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure every case and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--keep-memory", action="store_true")
    parser.add_argument("--beside-float32", action="store_true")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if problem := doctor(self_test=False).problems[torch.device(options.device).type]:
        sys.exit(f"bench_ops: {problem}")
    if options.keep_memory:
        keep_freed_memory()
    report: dict[str, Any] = {"machine": machine(options.device), "dtype": options.dtype}
    load_before, rows = os.getloadavg()[0], []
    for threads in options.threads:
        torch.set_num_threads(threads)
        for case in cases(options):
            row = {"threads": threads, **measure(case, options)}
            rows.append(row)
            sys.stdout.write(f"{row['case']} T{threads}: {summary(row)}\n")
            sys.stdout.flush()
    report["load_average"] = {"before": load_before, "after": os.getloadavg()[0]}
    report["rows"] = rows
    kept = "_kept_memory" if options.keep_memory else ""
    kept += "_beside_float32" if options.beside_float32 else ""
    name = f"ops_{kernels(options.device)}_{options.dtype}{kept}.json"
    output = options.output or RESULTS / name
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")


def cases(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Encoder (a query for each pixel), decoder (300 queries) and what stands in front of them."""
    found = [
        {"kind": kind, "image_hw": image_hw, "batch": batch}
        for kind in options.kinds
        for image_hw in ((800, 1066), (544, 960))
        for batch in options.batches
    ]
    return [case for case in found if case["kind"] != "points" or options.device == "cpu"]


def make_arguments(case: dict[str, Any], options: argparse.Namespace) -> list[Tensor]:
    """Locations as at the start of training: pixel centres, directed offsets, a pixel of noise."""
    random = torch.Generator().manual_seed(0)
    height, width = case["image_hw"]
    shapes = torch.tensor([[-(-height // s), -(-width // s)] for s in STRIDES])
    areas = shapes.prod(1)
    batch, pixels = case["batch"], int(areas.sum())
    if case["kind"] != "decoder":
        centres = torch.cat([pixel_centres(h, w) for h, w in shapes.tolist()])  # (Q, 2)
    else:
        centres = torch.rand(300, 2, generator=random)
    point_sizes = (batch, len(centres), HEADS, len(STRIDES), POINTS)
    angles = torch.arange(HEADS) * (2 * torch.pi / HEADS)
    directions = torch.stack([angles.cos(), angles.sin()], -1)  # (M, 2)
    directions = directions / directions.abs().amax(-1, keepdim=True)
    offsets = directions[:, None, None] * torch.arange(1, POINTS + 1)[:, None]  # (M, 1, P, 2)
    offsets = offsets + torch.randn(*point_sizes, 2, generator=random)
    locations = centres[:, None, None, None] + offsets / shapes.flip(-1)[:, None]
    weights = torch.randn(point_sizes, generator=random).flatten(3).softmax(-1).view(point_sizes)
    value = torch.randn(batch, pixels, HEADS, CHANNELS, generator=random)
    value = value.to(getattr(torch, options.dtype))
    tensors = [value, shapes, areas.cumsum(0) - areas, locations.contiguous(), weights]
    return [t.to(options.device).requires_grad_(t.is_floating_point()) for t in tensors]


def pixel_centres(height: int, width: int) -> Tensor:
    """(H * W, 2), x then y, 0 to 1."""
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([(xs + 0.5) / width, (ys + 0.5) / height], -1).flatten(0, 1)


class Call(NamedTuple):
    """A function and what it is called with."""

    function: Callable[..., Any]
    arguments: list[Any]


def calls(case: dict[str, Any], options: argparse.Namespace) -> dict[str, Call]:
    """What is compared, "reference" and "native" among it."""
    arguments: list[Any] = make_arguments(case, options)
    if case["kind"] == "points":
        _, shapes, _, offsets, logits = arguments
        references = torch.rand(*offsets.shape[:2], len(STRIDES), 2)
        taken = [references, offsets, logits, shapes]
        return {
            "reference": Call(sampling_points_reference, taken),
            "native": Call(sampling_points, taken),
        }
    native = functools.partial(ms_deform_attn, backend="native")
    if options.beside_float32:
        value = arguments[0].detach().float().requires_grad_()
        reference = Call(native, [value, *arguments[1:]])
    else:
        reference = Call(ms_deform_attn_reference, arguments)
    chosen = {"reference": reference, "native": Call(native, arguments)}
    if options.compiled and (case["kind"], case["batch"]) == ("encoder", 1):
        arguments[1] = arguments[1].tolist()  # Python ints: one graph without a break
        compiled = torch.compile(ms_deform_attn_reference, fullgraph=True)
        chosen["compiled"] = Call(compiled, arguments)
    return chosen


def measure(case: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of forward and backward of each function, and the native ones' ratios."""
    chosen = calls(case, options)
    times: dict[str, list[float]] = {}
    # A short call is repeated more often: its minimum needs more chances.
    repeats = options.repeats * (10 if case["kind"] == "decoder" else 1)
    for _ in range(repeats + 1):
        for name, (function, arguments) in chosen.items():
            leaves = [t for t in arguments if isinstance(t, Tensor) and t.requires_grad]
            write_anew(leaves)
            outputs, forward_ms = timed(functools.partial(function, *arguments), options.device)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            upstream = [torch.ones_like(output) for output in outputs]
            differentiate = functools.partial(torch.autograd.grad, outputs, leaves, upstream)
            _, backward_ms = timed(differentiate, options.device)
            times.setdefault(f"{name}_forward", []).append(forward_ms)
            times.setdefault(f"{name}_backward", []).append(backward_ms)
    height, width = case["image_hw"]
    row: dict[str, Any] = {"case": f"{case['kind']} {height}x{width} N{case['batch']}"}
    for direction in ("forward", "backward"):
        native = times[f"native_{direction}"]
        row[direction] = compare(times[f"reference_{direction}"], native)
        if "compiled" in chosen:
            row[f"{direction}_compiled"] = compare(times[f"compiled_{direction}"], native)
    return row


def keep_freed_memory() -> None:
    """Let glibc take memory by growing its heap, and never give it back."""
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, -1)


@torch.no_grad()
def write_anew(tensors: list[Tensor]) -> None:
    """Write every number again, by the value it has."""
    for tensor in tensors:
        tensor.mul_(1)


def timed(run: Callable[[], Any], device: str) -> tuple[Any, float]:
    """The result and the wall time in milliseconds."""
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = run()
    if device != "cpu":
        torch.cuda.synchronize()
    return result, (time.perf_counter() - start) * 1e3


def compare(reference: list[float], native: list[float]) -> dict[str, float]:
    """Minima, medians and their ratios, without the first run, which touches the memory."""
    reference, native = reference[1:], native[1:]
    figures = {
        "reference_min_ms": min(reference),
        "native_min_ms": min(native),
        "ratio_of_minima": min(reference) / min(native),
        "reference_median_ms": statistics.median(reference),
        "native_median_ms": statistics.median(native),
        "ratio_of_medians": statistics.median(reference) / statistics.median(native),
    }
    return {name: round(figure, 3) for name, figure in figures.items()}


def summary(row: dict[str, Any]) -> str:
    """One line: ratios of the minima (of the medians), and the native minimum."""
    return ", ".join(
        f"{name} {figures['ratio_of_minima']:.1f}x ({figures['ratio_of_medians']:.1f}x), "
        f"{figures['native_min_ms']:.2f} ms"
        for name, figures in row.items()
        if isinstance(figures, dict)
    )


def machine(device: str) -> dict[str, str | int | None]:
    """What the figures belong to."""
    gpu = {"gpu": torch.cuda.get_device_name()} if device != "cpu" else {}
    found = describe_machine("torch")
    return {**found, "kernels": kernels(device), **gpu}


def kernels(device: str) -> str:
    """Which kernels run: "cuda", or the processor's instruction set."""
    return doctor(self_test=False).instruction_set if device == "cpu" else device


if __name__ == "__main__":
    main()
