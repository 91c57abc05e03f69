"""Memory that is used up, in a sentence with what to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class OutOfMemoryError(ValueError):
    """A batch does not fit into memory; the text says what to change."""


@contextmanager
def memory_named(batch_size: int, size_hw: tuple[int, int], advice: str) -> Iterator[None]:
    """Say what did not fit where a batch runs out of memory, on a GPU or on this machine.

    Args:
        batch_size: images of one process.
        size_hw: height and width of the largest batch in pixels.
        advice: which keys to change.

    Raises:
        OutOfMemoryError: the memory is used up.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        where = _short_memory(error)
        if where is None:
            raise
        height, width = size_hw
        raise OutOfMemoryError(
            f"{where} is out of memory with {batch_size} images of up to {height} x {width}: "
            f"{advice}"
        ) from error


def _short_memory(error: BaseException) -> str | None:
    """Whose memory an error says is used up; None: it says something else."""
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, torch.OutOfMemoryError) or "CUDA out of memory" in str(each):
            return "the GPU"
        if isinstance(each, MemoryError) or "DefaultCPUAllocator" in str(each):
            return "this machine"
        each = each.__cause__ or each.__context__
    return None
