"""Batches of data workers, and what becomes of the workers."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any

from torch.utils.data import DataLoader
from typing_extensions import override

from ddetr_data.torch import Batch, function_name
from ddetr_train.data._parcel import Parcel
from ddetr_train.data.worker_failure import explain_failure


def refuse_unsendable(function: Callable[..., Any] | None, workers: int) -> None:
    """Refuse a function that data workers cannot be given, where they are not forked.

    Raises:
        ValueError: it is no function of a module, such as a lambda.
    """
    if function is None or not workers or multiprocessing.get_start_method() == "fork":
        return
    try:
        ForkingPickler.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"the transform {function_name(function)} cannot be sent to data workers ({error}): "
            "define it in a module, or set dataset.workers to 0"
        ) from error


class BatchLoader(DataLoader[Batch]):
    """A DataLoader that opens parcels, and says why a worker gave none."""

    workers: tuple[BaseProcess, ...] = ()  # that it has started

    @override
    def __iter__(self) -> Any:
        """Begin a pass; its batches are those of the collate function.

        Raises:
            DataWorkerError: by the iterator, where a worker has died or cannot send.
        """
        before = multiprocessing.active_children()
        try:
            batches = super().__iter__()
        except OSError as error:
            raise explain_failure(error, []) or error from error
        started = [each for each in multiprocessing.active_children() if each not in before]
        self.workers = tuple(started) or self.workers
        return _Opened(batches, self.workers)


class _Opened:
    def __init__(self, batches: Iterator[Any], workers: tuple[BaseProcess, ...]) -> None:
        self._batches = batches
        self._workers = workers

    def __iter__(self) -> _Opened:
        return self

    def __next__(self) -> Batch:
        try:
            batch = next(self._batches)
            return batch.opened() if isinstance(batch, Parcel) else batch
        except StopIteration:
            raise
        except Exception as error:
            explained = explain_failure(error, self._workers)
            if explained is None:
                raise
            raise explained from error
