"""What the processes of one run tell each other, and how those of a launcher find each other."""

from __future__ import annotations

import logging
import os
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
from ddetr_train.process.rendezvous import MeetingPoint, Tell, join_processes

T = TypeVar("T")
logger = logging.getLogger(__name__)

_LONGEST_START_SECONDS = 600.0
# One may wait for another's harder images; a death is noticed at once.
_LONGEST_WAIT = timedelta(days=2)
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
def joined_ranks(
    *, timeout_seconds: float = _LONGEST_START_SECONDS, tell: Tell = logger.warning
) -> Iterator[RankSlice]:
    """Join the other processes of an evaluation or inference until the block ends.

    A process that no launcher started beside others stays alone.

    Args:
        timeout_seconds: to wait for the others at most.
        tell: called with what is waited for; by default a warning is logged.

    Raises:
        RendezvousError: the others do not come.
    """
    launch = current_launch()
    if not launch.is_shared:
        yield ALONE
        return
    join_processes(_meeting_point(launch), "gloo", timeout_seconds=timeout_seconds, tell=tell)
    try:
        group = torch.distributed.new_group(timeout=_LONGEST_WAIT)
        yield GatheredSlice(torch.distributed.get_rank(), torch.distributed.get_world_size(), group)
    finally:
        torch.distributed.destroy_process_group()


def _meeting_point(launch: Launch) -> MeetingPoint:
    """Say where the processes find each other; torchrun puts it into the environment."""
    slurm = SLURMEnvironment() if launch.launcher == "srun" else None
    return MeetingPoint(
        slurm.main_address if slurm else os.environ["MASTER_ADDR"],
        slurm.main_port if slurm else int(os.environ["MASTER_PORT"]),
        launch.rank,
        launch.world_size,
        node=launch.rank // launch.local_world_size,
        nodes=-(-launch.world_size // launch.local_world_size),
    )
