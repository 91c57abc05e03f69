"""How the processes of a run find each other: told, within a time, and not in native code."""

from __future__ import annotations

import atexit
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from ddetr_train.process.launcher import LaunchError

Tell = Callable[[str], None]

_LOOK_SECONDS = 0.2
_UNTOLD_SECONDS = 2.0  # of waiting for machines
_UNTOLD_SECONDS_HERE = 30.0  # for processes of one machine, which load their libraries first
_STORE_TIMEOUT = timedelta(seconds=30)  # for an answer of a store that is there


class RendezvousError(LaunchError):
    """The other processes of a run did not come in time, or cannot be met; the text says where."""


@dataclass(frozen=True)
class MeetingPoint:
    """Where the processes of a run meet, and which of them this one is."""

    host: str
    port: int
    rank: int
    world_size: int
    node: int = 0  # the number of this machine
    nodes: int = 1

    @property
    def address(self) -> str:
        """Host and port as people write them."""
        return f"{self.host}:{self.port}"


def join_processes(
    point: MeetingPoint,
    backend: str,
    *,
    timeout_seconds: float,
    tell: Tell,
    device: Any | None = None,
) -> None:
    """Make PyTorch's process group once every process is there; where one is made, do nothing.

    Args:
        backend: "gloo" or "nccl".
        timeout_seconds: to wait for the others at most.
        tell: called with what is waited for.
        device: of this process, for a back-end that needs it.

    Raises:
        RendezvousError: they did not come in time, or the address cannot be used.
    """
    if dist.is_initialized():
        return
    deadline = time.monotonic() + timeout_seconds
    waiting = _Waiting(point, timeout_seconds, deadline, tell)
    store = _store(point, waiting)
    store.add("processes", 1)
    store.add(f"node{point.node}", 1)
    while (present := store.add("processes", 0)) < point.world_size:
        nodes = sum(store.add(f"node{node}", 0) > 0 for node in range(point.nodes))
        waiting.go_on(_missing(point, present, nodes))
    dist.init_process_group(
        backend,
        store=PrefixStore("group", store),
        rank=point.rank,
        world_size=point.world_size,
        device_id=device,
    )
    if backend == "nccl":  # PyTorch warns of a group that is left
        atexit.register(_leave_group)


class _Waiting:
    """Tells once what is waited for, and ends when the time is over."""

    def __init__(self, point: MeetingPoint, seconds: float, deadline: float, tell: Tell) -> None:
        self._point = point
        self._seconds = seconds
        self._deadline = deadline
        untold = _UNTOLD_SECONDS if point.nodes > 1 else _UNTOLD_SECONDS_HERE
        self._told_from = time.monotonic() + untold
        self._tell = tell
        self._told = ""

    def go_on(self, missing: str) -> None:
        """Wait a little for what is missing.

        Raises:
            RendezvousError: the time is over.
        """
        what = f"{missing} at {self._point.address}"
        if time.monotonic() > self._deadline:
            raise RendezvousError(
                f"waited {self._seconds:g} s for {what}: start what is missing, see that the "
                "address is reached from all machines, or raise rendezvous_timeout_seconds"
            )
        if what != self._told and time.monotonic() > self._told_from:
            self._told = what
            self._tell(f"waiting for {what}, at most {self._seconds:g} s")
        time.sleep(_LOOK_SECONDS)


def _missing(point: MeetingPoint, processes: int, nodes: int) -> str:
    if nodes < point.nodes:
        return f"{point.nodes - nodes} of {point.nodes} nodes"
    return f"{point.world_size - processes} of {point.world_size} processes"


def _store(point: MeetingPoint, waiting: _Waiting) -> Store:
    """Open the store in which the processes meet; the first keeps it, or torchrun's agent does."""
    of_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if point.rank == 0 and not of_agent:
        return _kept_store(point)
    while not _answers(point):
        waiting.go_on(f"the first of {max(point.nodes, 1)} nodes")
    store = _opened_store(point, point.host, is_kept=False)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"attempt{attempt}", store) if of_agent else store


def _kept_store(point: MeetingPoint) -> Store:
    try:
        return _opened_store(point, "localhost", is_kept=True)
    except RuntimeError as error:
        reason = str(error).rpartition("message: ")[2].splitlines()[0]
        raise RendezvousError(
            f"this process cannot listen at port {point.port} ({reason}): set another MASTER_PORT "
            "in all processes"
        ) from error


def _opened_store(point: MeetingPoint, host: str, *, is_kept: bool) -> TCPStore:
    return TCPStore(
        host,
        point.port,
        point.world_size,
        is_master=is_kept,
        timeout=_STORE_TIMEOUT,
        wait_for_workers=False,
    )


def _answers(point: MeetingPoint) -> bool:
    try:
        with socket.create_connection((point.host, point.port), timeout=1.0):
            return True
    except (OSError, UnicodeError):  # names too may be known later only
        return False


def _leave_group(*_: Any) -> None:
    with suppress(Exception):
        dist.destroy_process_group()
