"""Every wait is told, and ends within ten seconds of one signal, with what can be saved saved."""

from __future__ import annotations

import json
import math
import multiprocessing.connection
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed import TCPStore

from ddetr_cli.app import main
from ddetr_data.torch import DetectionDataset
from ddetr_train.module import DetectionModule

LONGEST_SECONDS = 10.0  # on a machine of its own; rows that wait side by side get three times that
LONGEST_SECONDS_OF_ALL = 500.0


def stuck() -> None:
    print("stuck", file=sys.stderr, flush=True)


def no_more_images(patch: pytest.MonkeyPatch) -> None:
    """From the fifth image on the loader waits for a file that is never written."""
    take, taken = DetectionDataset.__getitem__, []
    after_batch = DetectionModule.on_train_batch_end

    def starve(self: DetectionDataset, index: int) -> Any:
        taken.append(index)
        if len(taken) > 4:
            Path(os.environ["NEVER"]).read_bytes()
        return take(self, index)

    def tell(self: DetectionModule, *arguments: Any) -> None:
        after_batch(self, *arguments)
        if self.global_step == 2:
            stuck()

    patch.setattr(DetectionDataset, "__getitem__", starve)
    patch.setattr(DetectionModule, "on_train_batch_end", tell)


def no_end(patch: pytest.MonkeyPatch, name: str, steps: int) -> None:
    """A step, after so many, waits in native code, which hears no signal."""
    step = getattr(DetectionModule, name)

    def hang(self: DetectionModule, *arguments: Any) -> Any:
        if self.global_step == steps:
            store = TCPStore("localhost", 0, 1, True, timedelta(minutes=2))
            stuck()
            store.wait(["never"], timedelta(minutes=2))
        return step(self, *arguments)

    patch.setattr(DetectionModule, name, hang)


def slow_steps(patch: pytest.MonkeyPatch) -> None:
    """Steps that leave the time for a signal."""
    step = DetectionModule.training_step

    def slow(self: DetectionModule, *arguments: Any) -> Any:
        stuck()
        threading.Event().wait(0.3)
        return step(self, *arguments)

    patch.setattr(DetectionModule, "training_step", slow)


@dataclass(frozen=True)
class Wait:
    """A command that waits, and how it ends."""

    signum: int | None = signal.SIGTERM
    stand_in: Callable[[pytest.MonkeyPatch], None] = lambda patch: None  # for what gets stuck
    task: str = "train"
    options: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    told: str = "stuck"  # in standard error, from when on it waits
    exit_status: int = 130
    said: str = "was interrupted"
    saved_step: int | None = None  # in the latest checkpoint
    ignored: int | None = None  # a signal that is ignored from the start


def by_hand(node: str) -> dict[str, str]:
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "NODE_RANK": node}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


ABSENT = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}
TWO = ("train.num_nodes=2",)
WAITS = {
    "a node that never comes": Wait(
        variables=by_hand("0"), options=TWO, told="waiting for 1 of 2 nodes at 127.0.0.1:"
    ),
    "a first node that never comes": Wait(
        signal.SIGINT,
        variables=by_hand("1"),
        options=TWO,
        told="waiting for the first of 2 nodes at 127.0.0.1:",
    ),
    "a node of fsdp that never comes": Wait(
        variables=by_hand("0"),
        options=(*TWO, "train.distributed_strategy=fsdp"),
        told="waiting for 1 of 2 nodes",
    ),
    "torchrun without the others": Wait(
        signal.SIGHUP,
        variables=ABSENT | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())},
        options=TWO,
        told="waiting for 1 of 2 nodes",
    ),
    "a node that does not come in time": Wait(
        None,
        variables=by_hand("0"),
        options=(*TWO, "train.rendezvous_timeout_seconds=3"),
        told="waiting for 1 of 2 nodes",
        exit_status=2,
        said="waited 3 s for 1 of 2 nodes at 127.0.0.1:",
    ),
    "images that never come to a worker": Wait(
        stand_in=no_more_images, options=("dataset.workers=1",), said="after step 2", saved_step=2
    ),
    "images that never come": Wait(
        signal.SIGINT, stand_in=no_more_images, said="after step 2", saved_step=2
    ),
    "a step that never ends": Wait(
        stand_in=partial(no_end, name="training_step", steps=2), said="after step 2", saved_step=2
    ),
    "a validation that never ends": Wait(
        signal.SIGINT,
        stand_in=partial(no_end, name="validation_step", steps=3),
        said="after step 3",
        saved_step=3,
    ),
    "a terminal that closes": Wait(signal.SIGHUP, stand_in=slow_steps, said="holds the state"),
    "a terminal that closes under nohup": Wait(
        signal.SIGHUP,
        stand_in=slow_steps,
        exit_status=0,
        said="",
        saved_step=3,
        ignored=signal.SIGHUP,
    ),
}


@dataclass(frozen=True)
class Ended:
    """How a waiting command ended."""

    exit_status: int
    seconds: float  # after the signal
    said: str
    last_line: dict[str, Any]
    saved_step: int | None


def start(wait: Wait, spec: Path, folder: Path) -> multiprocessing.Process:
    """Run the command in a process of its own, which has loaded the libraries already."""
    folder.mkdir()
    os.mkfifo(folder / "never")
    options = [f"results_dir={folder}/results", "train.num_epochs=1", *wait.options]

    def work() -> None:
        os.environ |= {"NEVER": str(folder / "never")} | dict(wait.variables)
        os.dup2(os.open(folder / "said", os.O_WRONLY | os.O_CREAT), 2)
        sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1)  # pytest has others
        for number in (signal.SIGTERM, signal.SIGHUP):  # whatever these tests were started with
            ignored = number == wait.ignored
            signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.MonkeyPatch.context() as patch:
            wait.stand_in(patch)
            patch.setattr(sys, "argv", ["ddetr", wait.task, "-e", str(spec), *options])
            main()

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def ends_of(spec: Path, folder: Path) -> dict[str, Ended]:
    """Start every row, send each its signal once it waits, and look until all have ended."""
    folders = {name: folder / str(number) for number, name in enumerate(WAITS)}
    running = {name: start(WAITS[name], spec, folders[name]) for name in WAITS}
    asked: dict[str, float] = {}
    ended: dict[str, Ended] = {}
    deadline = time.monotonic() + LONGEST_SECONDS_OF_ALL
    while len(ended) < len(WAITS):
        for name, process in running.items():
            said = folders[name] / "said"
            text = said.read_text() if said.is_file() else ""
            if name not in asked and WAITS[name].told in text:
                asked[name] = time.monotonic()
                if WAITS[name].signum is not None:
                    os.kill(process.pid, WAITS[name].signum)
            if time.monotonic() > deadline:
                process.kill()
                process.join()
            if name not in ended and process.exitcode is not None:
                seconds = time.monotonic() - asked.get(name, math.inf)
                left = left_in(folders[name] / "results")
                ended[name] = Ended(process.exitcode, seconds, said.read_text(), *left)
        multiprocessing.connection.wait(
            [each.sentinel for name, each in running.items() if name not in ended], timeout=0.1
        )
    return ended


def left_in(results: Path) -> tuple[dict[str, Any], int | None]:
    """The last line of the record, and the updates that the latest checkpoint has had."""
    status = results / "train" / "status.json"
    lines = status.read_text().splitlines() if status.is_file() else ["{}"]
    latest = results / "train" / "dd_model_latest.pth"
    step = torch.load(latest, weights_only=True)["global_step"] if latest.is_file() else None
    return json.loads(lines[-1]), step


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, wait_spec: Path) -> dict[str, Ended]:
    """All rows of the table, started at the same time from a process without other threads."""
    folder = tmp_path_factory.mktemp("waits")
    done = subprocess.run(
        [sys.executable, __file__, str(wait_spec), str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "ended.json").read_text())
    return {name: Ended(**each) for name, each in found.items()}


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("name", WAITS)
def test_a_wait_is_told_and_ends_with_one_signal(ended: dict[str, Ended], name: str) -> None:
    """Its exit status, the record's last line, and the state of the last finished update."""
    # faults 10 and 12
    wait, end = WAITS[name], ended[name]
    assert wait.told in end.said
    assert end.exit_status == wait.exit_status, end.said
    assert end.seconds < 3 * LONGEST_SECONDS or wait.exit_status == 0
    if wait.variables.get("NODE_RANK") != "1":  # the first process alone writes the record
        states = {130: "INTERRUPTED", 2: "FAILURE", 0: "SUCCESS"}
        assert end.last_line["status"] == states[wait.exit_status]
        assert wait.said in end.last_line["message"]
    if wait.saved_step is not None:
        assert end.saved_step == wait.saved_step
    assert "Traceback" not in end.said


if __name__ == "__main__":
    SPEC, FOLDER = map(Path, sys.argv[1:])
    ENDS = {name: asdict(each) for name, each in ends_of(SPEC, FOLDER).items()}
    (FOLDER / "ended.json").write_text(json.dumps(ENDS))
