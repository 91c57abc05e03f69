"""A batch on its way from a data worker: one piece of shared memory, whatever it holds."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch import Tensor

from ddetr_data.torch import Batch, collate

_NEW_SHARED = getattr(torch.UntypedStorage, "_new_shared", None)  # as PyTorch's own collate
_ALIGNMENT = 16  # bytes; of every number that a tensor holds


class Packed:
    """A batch whose tensors lie one after the other in one tensor of bytes.

    Each tensor that goes to another process alone takes a file descriptor there and here: a batch
    of 160 images has a thousand of them.
    """

    def __init__(self, batch: Batch) -> None:
        """Copy a batch into shared memory.

        Raises:
            RuntimeError: there is no room in it.
        """
        self._names = [list(target) for target in batch.targets]
        flat = [value for target in batch.targets for value in target.values()]
        tensors = [batch.images, batch.mask, *flat]
        self._layout: list[tuple[torch.dtype, torch.Size, tuple[int, ...], int]] = []
        end = 0
        for tensor in tensors:
            strides = torch.empty_like(tensor, device="meta").stride()  # dense, in the same order
            self._layout.append((tensor.dtype, tensor.shape, strides, end))
            end += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
        self._content = _shared_bytes(end)
        for tensor, packed in zip(tensors, self._tensors(), strict=True):
            packed.copy_(tensor)

    def batch(self, *, is_pinned: bool = False) -> Batch:
        """Give the batch, without a copy unless it is pinned for a GPU."""
        if is_pinned:
            self._content = self._content.pin_memory()
        images, mask, *flat = self._tensors()
        values = iter(flat)
        return Batch(images, mask, [{name: next(values) for name in each} for each in self._names])

    def _tensors(self) -> list[Tensor]:
        """Views of the content."""
        return [
            self._content[start : start + shape.numel() * dtype.itemsize]
            .view(dtype)
            .as_strided(shape, strides)
            for dtype, shape, strides, start in self._layout
        ]


def _shared_bytes(count: int) -> Tensor:
    """Give so many bytes of shared memory, without writing them twice where PyTorch can."""
    if _NEW_SHARED is None:
        plain = torch.empty(count, dtype=torch.uint8)
        return plain.share_memory_()  # type: ignore[no-any-return, no-untyped-call]
    return torch.empty(0, dtype=torch.uint8).set_(_NEW_SHARED(count))


class Parcel:
    """A batch that is ready to be sent.

    It is packed in the worker's own thread, whose errors reach the run; those of the thread that
    sends would be lost with the batch, and the run would wait for it for ever.
    """

    def __init__(self, batch: Batch) -> None:
        self._content = bytes(ForkingPickler.dumps(Packed(batch)))

    def opened(self, *, is_pinned: bool = False) -> Batch:
        """Give the batch, once, in the process that has received it."""
        packed: Packed = ForkingPickler.loads(self._content)
        return packed.batch(is_pinned=is_pinned)

    def pin_memory(self) -> Batch:
        """Give the batch as PyTorch's pinning thread wants it."""
        return self.opened(is_pinned=True)


class PackingCollate:
    """`collate`, whose batches are parcels in a data worker."""

    def __init__(self, fixed_size_hw: tuple[int, int] | None = None) -> None:
        self._fixed_size_hw = fixed_size_hw

    def __call__(self, items: Sequence[Any]) -> Batch | Parcel:
        """Pad the samples to one size."""
        batch = collate(items, self._fixed_size_hw)
        return batch if torch.utils.data.get_worker_info() is None else Parcel(batch)
