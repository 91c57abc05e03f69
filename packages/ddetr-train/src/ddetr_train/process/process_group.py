"""What the processes of one run tell each other, and how those of a launcher find each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from typing_extensions import override

from ddetr_data.detection import ALONE, Share
from ddetr_train.process.devices import LOCAL_WORLD_SIZE

T = TypeVar("T")

# All start together, but one may wait for another's harder images; a death is noticed at once.
_LONGEST_START, _LONGEST_WAIT = timedelta(minutes=30), timedelta(days=2)
# Of gloo, NCCL, and the store in which processes meet.
_LOST_CONNECTION = ("by peer", "Broken pipe", "remote process exited", "connection to the server")
_STEP = "SLURM_STEP_ID"  # only of tasks that srun has started


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
class GatheredShare(Share):
    """A share whose values come together through PyTorch's process group."""

    group: Any = None

    @override
    def gather(self, value: T) -> list[Any]:
        """Collect one value of every process, by index, on every process; waits for all.

        Raises:
            PeerEndedError: another process has ended.
        """
        parts: list[Any] = [None] * self.count
        try:
            torch.distributed.all_gather_object(parts, value, self.group)
        except RuntimeError as error:
            raise PeerEndedError(self.count, error) from error
        return parts


def gather_objects(value: T) -> list[T]:
    """Collect one value from every process of a training, on every process; alone it is one."""
    if not torch.distributed.is_initialized():
        return [value]
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, value)
    return parts


@contextmanager
def launched_share() -> Iterator[Share]:
    """Join the other processes of an evaluation or inference until the block ends.

    A process that no launcher started beside others stays alone.

    Raises:
        RuntimeError: the others do not answer.
    """
    address = _address()
    if address is None:
        yield ALONE
        return
    os.environ.update(address)
    torch.distributed.init_process_group("gloo", timeout=_LONGEST_START)
    try:
        group = torch.distributed.new_group(timeout=_LONGEST_WAIT)
        yield GatheredShare(torch.distributed.get_rank(), torch.distributed.get_world_size(), group)
    finally:
        torch.distributed.destroy_process_group()


def launched_place() -> int:
    """Number this process among those of its machine; alone it is 0."""
    name = "LOCAL_RANK" if LOCAL_WORLD_SIZE in os.environ else "SLURM_LOCALID"
    return 0 if _address() is None else int(os.environ[name])


def is_launched() -> bool:
    """Whether a launcher started several processes."""
    return _address() is not None


def _address() -> dict[str, str] | None:
    """Give the variables by which processes find each other; None for a process alone."""
    if LOCAL_WORLD_SIZE in os.environ:
        return {} if int(os.environ.get("WORLD_SIZE", "1")) > 1 else None
    if _STEP not in os.environ or not SLURMEnvironment.detect():
        return None
    slurm = SLURMEnvironment()
    if slurm.world_size() == 1:
        return None
    places = {"RANK": slurm.global_rank(), "WORLD_SIZE": slurm.world_size()}
    host = {"MASTER_ADDR": slurm.main_address, "MASTER_PORT": slurm.main_port}
    return {name: str(value) for name, value in (places | host).items()}
