"""What the processes of one run tell each other, and how those of a launcher find each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from typing_extensions import override

from ddetr_data.detection import ALONE, RankSlice
from ddetr_train.process.launcher import Launch, current_launch

T = TypeVar("T")

# All start together, but one may wait for another's harder images; a death is noticed at once.
_LONGEST_START, _LONGEST_WAIT = timedelta(minutes=30), timedelta(days=2)
# Of gloo, NCCL, and the store in which processes meet.
_LOST_CONNECTION = ("by peer", "Broken pipe", "remote process exited", "connection to the server")


class PeerEndedError(RuntimeError):
    """Another process of the run is not there any more."""

    def __init__(self, count: int, error: Exception) -> None:
        super().__init__(
            f"another of the {count} processes has ended, see its own output ({error})"
        )


@contextmanager
def peers_named(count: int) -> Iterator[None]:
    """Turn what a back-end says of a lost connection into a PeerEndedError, of so many processes.

    Raises:
        PeerEndedError: a collective operation found another process gone.
    """
    try:
        yield
    except RuntimeError as error:
        if count > 1 and any(words in str(error) for words in _LOST_CONNECTION):
            raise PeerEndedError(count, error) from error
        raise


@dataclass(frozen=True)
class GatheredSlice(RankSlice):
    """A slice whose values come together through PyTorch's process group."""

    group: Any = None

    @override
    def gather(self, value: T) -> list[Any]:
        """Collect one value of every process, by index, on every process; waits for all.

        Raises:
            PeerEndedError: another process has ended.
        """
        try:
            return gather_objects(value, self.group)
        except RuntimeError as error:
            raise PeerEndedError(self.count, error) from error


def gather_objects(value: T, group: Any = None) -> list[T]:
    """Collect one value from every process of a run, on every process; alone it is one."""
    if not torch.distributed.is_initialized():
        return [value]
    parts: list[Any] = [None] * torch.distributed.get_world_size(group)
    torch.distributed.all_gather_object(parts, value, group)
    return parts


@contextmanager
def joined_ranks() -> Iterator[RankSlice]:
    """Join the other processes of an evaluation or inference until the block ends.

    A process that no launcher started beside others stays alone.

    Raises:
        RuntimeError: the others do not answer.
    """
    launch = current_launch()
    if not launch.is_shared:
        yield ALONE
        return
    torch.distributed.init_process_group(
        "gloo",
        init_method=_meeting_point(launch),
        timeout=_LONGEST_START,
        rank=launch.rank,
        world_size=launch.world_size,
    )
    try:
        group = torch.distributed.new_group(timeout=_LONGEST_WAIT)
        yield GatheredSlice(torch.distributed.get_rank(), torch.distributed.get_world_size(), group)
    finally:
        torch.distributed.destroy_process_group()


def _meeting_point(launch: Launch) -> str:
    """Say where the processes find each other; torchrun puts it into the environment."""
    if launch.launcher == "torchrun":
        return "env://"
    slurm = SLURMEnvironment()
    return f"tcp://{slurm.main_address}:{slurm.main_port}"
