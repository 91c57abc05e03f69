"""Which kernels there are, and which are used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from ddetr_ops._native.library import CPU_PROBLEM, core


@dataclass
class _Choice:
    cuda_tiles: bool = True  # squares of queries on CUDA, where these are the pixels


choice = _Choice()


def problem_on(device_type: str) -> str:
    """Why the native kernels cannot run on "cpu" or "cuda"; empty if they can."""
    if CPU_PROBLEM or device_type == "cpu":
        return CPU_PROBLEM
    if device_type != "cuda":
        return f"there are no kernels for {device_type}"
    # torch.compile imports for real while it traces, and takes what it finds for a constant.
    from ddetr_ops._native._driver import PROBLEM

    return PROBLEM


def current_instruction_set() -> str:
    """The processor's instruction set in use: avx512, avx2 or baseline; empty if not built."""
    return "" if CPU_PROBLEM else core.instruction_set()


def has_threads() -> bool:
    """Whether the kernels on the CPU find the threads of PyTorch's OpenMP runtime."""
    return bool(CPU_PROBLEM) or core.has_threads()


@contextlib.contextmanager
def use_kernels(
    *, instruction_set: str | None = None, cuda_tiles: bool | None = None
) -> Iterator[None]:
    """Use other kernels than the fastest for a while, in all threads: to compare them.

    Args:
        instruction_set: "avx512", "avx2" or "baseline", on the CPU.
        cuda_tiles: False samples on CUDA as for any queries, also where these are the pixels.

    Raises:
        ValueError: the processor or the build lacks that instruction set.
    """
    before, tiles = current_instruction_set(), choice.cuda_tiles
    if instruction_set is not None and not (before and core.use_instruction_set(instruction_set)):
        raise ValueError(f"this processor or build has no kernels for {instruction_set}")
    choice.cuda_tiles = tiles if cuda_tiles is None else cuda_tiles
    try:
        yield
    finally:
        choice.cuda_tiles = tiles
        if instruction_set is not None:
            core.use_instruction_set(before)
