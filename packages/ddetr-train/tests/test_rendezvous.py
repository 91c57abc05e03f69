"""How processes find each other: told, within a time, or refused with the address."""

from __future__ import annotations

import socket
import time

import pytest

from ddetr_train.process import (
    LaunchError,
    MeetingPoint,
    RendezvousError,
    check_launch,
    choose_devices,
    join_processes,
    read_launch,
)

LONG, SHORT = 60.0, 3.0


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("rank", "missing"), [(0, "1 of 2 nodes"), (1, "the first of 2 nodes")], ids=["first", "other"]
)
def test_a_node_that_does_not_come_is_told_and_waited_for_so_long(rank, missing, port) -> None:
    """One sentence while it waits, one at the end of the time, both with the address."""
    # fault 10
    told: list[str] = []
    point = MeetingPoint("127.0.0.1", port, rank, 2, node=rank, nodes=2)
    began = time.monotonic()
    with pytest.raises(RendezvousError, match=f"waited 3 s for {missing} at {point.address}"):
        join_processes(point, "gloo", timeout_seconds=SHORT, tell=told.append)
    assert SHORT <= time.monotonic() - began < LONG
    assert told == [f"waiting for {missing} at {point.address}, at most 3 s"]


def test_a_port_in_use_is_named_at_once(port) -> None:
    """With what to set."""
    with socket.socket() as other:
        other.bind(("0.0.0.0", port))
        other.listen()
        point = MeetingPoint("127.0.0.1", port, 0, 2)
        with pytest.raises(RendezvousError, match=rf"port {port} .*set another MASTER_PORT"):
            join_processes(point, "gloo", timeout_seconds=LONG, tell=print)


def test_machines_by_hand_need_one_port() -> None:
    """Each would choose one of its own, and none would find the other."""
    launch = read_launch({"MASTER_ADDR": "10.0.0.1", "NODE_RANK": "0"}, by_hand=True)
    with pytest.raises(LaunchError, match="MASTER_PORT is not set"):
        check_launch(launch, choose_devices(1, [0], gpus_present=1), 2)
