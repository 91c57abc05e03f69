"""A run that was killed continues as if it had not been."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import signal
import subprocess
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from torch import Tensor

from ddetr_data.detection import RunEvent
from ddetr_train.callbacks import TrainingPreempted
from ddetr_train.checkpoints import LATEST_NAME
from ddetr_train.config import TrainConfig
from ddetr_train.engine import TrainResult, train
from ddetr_train.module import DetectionModule
from ddetr_train.process import FolderInUseError, folder_locked

KILLS = 10
OPTIONS: dict[str, Any] = {
    "accelerator": "cpu",
    "num_epochs": 5,
    "validation_interval": 2,
    "activation_checkpoint": False,
    "checkpoint_interval_steps": 2,
    "ema_decay": 0.9,
    "warmup_steps": 4,
    "early_stopping_patience": 9,
    "optim": {"lr_scheduler": "AutoReduce", "lr": 1e-3},
}


def stored(folder: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(folder / LATEST_NAME, weights_only=True)
    return checkpoint


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Name every leaf of nested dicts and lists."""
    if not isinstance(value, (dict, list, tuple)):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {
        key: leaf for part, inner in items for key, leaf in flat(inner, f"{name}.{part}").items()
    }


def same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    both_nan = isinstance(left, float) and math.isnan(left) and math.isnan(right)
    return both_nan or left == right


def differences(left: Path, right: Path) -> list[str]:
    """Name the weights, means, moments, schedules, metrics and scores that differ in any bit."""
    parts = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "ddetr")
    first, second = stored(left), stored(right)
    found = []
    for part in (*parts, "callbacks", "global_step"):
        ours, theirs = flat(first.get(part)), flat(second.get(part))
        assert ours.keys() == theirs.keys()
        found += [f"{part}{name}" for name in ours if not same(ours[name], theirs[name])]
    return found


class KillAt:
    """An observer that signals its own process at the n-th event of a kind."""

    def __init__(self, events: int, signum: int = signal.SIGKILL, kind: str | None = None) -> None:
        self._left = events
        self._signum = signum
        self._kind = kind

    def __call__(self, event: RunEvent) -> None:
        if self._kind in (None, event.kind):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), self._signum)


@pytest.fixture
def start(model_config, dataset, tmp_path) -> Callable[..., TrainResult]:
    """Train in tmp_path / name; keywords change OPTIONS."""

    def run(name: str, *observers: Callable[[RunEvent], None], **options: object) -> TrainResult:
        config = TrainConfig.model_validate(OPTIONS | options)
        return train(model_config, dataset, config, tmp_path / name, observers=observers)

    return run


@pytest.mark.slow
def test_a_run_killed_anywhere_ends_with_the_same_state(start, tmp_path, in_a_process) -> None:
    """Ten kills at random events change no bit of what the run ends with."""
    start("whole")
    rng = random.Random(6)
    for _ in range(KILLS):
        observer = KillAt(rng.randint(3, 7))
        code = in_a_process(lambda observer=observer: start("cut", observer))
        assert code == -signal.SIGKILL
    start("cut")
    assert differences(tmp_path / "whole", tmp_path / "cut") == []


@pytest.mark.parametrize("write", [1, 3])
def test_a_kill_while_a_checkpoint_is_written_loses_nothing(
    start, tmp_path, in_a_process, monkeypatch, write
) -> None:
    """Half a file never takes the place of a whole one."""
    options = {"num_epochs": 2, "ema_decay": None, "checkpoint_interval_steps": 3}
    start("whole", **options)
    save, calls = torch.save, []

    def save_half(content: object, file: IO[bytes]) -> None:
        calls.append(file)
        save(content, file)
        if len(calls) == write:
            file.truncate(1000)
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save_half)
        assert in_a_process(lambda: start("cut", **options)) == -signal.SIGKILL
    start("cut", **options)
    assert differences(tmp_path / "whole", tmp_path / "cut") == []
    assert list((tmp_path / "cut").glob(".*")) == []


def test_groups_of_batches_survive_a_kill(start, tmp_path, in_a_process) -> None:
    """Accumulated gradients are not cut in two by a checkpoint inside an epoch."""
    options = {"num_epochs": 2, "accumulate_grad_batches": 2, "checkpoint_interval_steps": 1}
    start("whole", **options)
    in_a_process(lambda: start("cut", KillAt(4, kind="step"), **options))
    assert stored(tmp_path / "cut")["DetectionDataModule"]["position"] == [0, 2]
    start("cut", **options)
    assert differences(tmp_path / "whole", tmp_path / "cut") == []


@pytest.mark.parametrize("event", [(2, "step"), (1, "validation")])
def test_sigterm_saves_and_says_so(start, tmp_path, event) -> None:
    """The run ends with its state saved, in an epoch or after it, and continues exactly."""
    options = {"num_epochs": 2, "checkpoint_interval_steps": None, "validation_interval": 1}
    before = signal.getsignal(signal.SIGTERM)
    start("whole", **options)
    with pytest.raises(TrainingPreempted, match="same command continues") as stop:
        start("cut", KillAt(event[0], signal.SIGTERM, event[1]), **options)
    assert stop.value.checkpoint == tmp_path / "cut" / LATEST_NAME
    assert signal.getsignal(signal.SIGTERM) == before
    start("cut", **options)
    assert differences(tmp_path / "whole", tmp_path / "cut") == []


def test_sigterm_does_not_wait_for_a_validation(start, tmp_path, monkeypatch) -> None:
    """The run ends after the batch at hand; the next start repeats the validation, exactly."""
    options = {"num_epochs": 2, "checkpoint_interval_steps": None, "validation_interval": 1}
    start("whole", **options)
    validate, calls = DetectionModule.validation_step, []

    def validate_and_signal(self: DetectionModule, *arguments: Any) -> Any:
        calls.append(self.current_epoch)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return validate(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(DetectionModule, "validation_step", validate_and_signal)
        with pytest.raises(TrainingPreempted, match="stopped by SIGTERM in epoch 1 after step 10"):
            start("cut", **options)
    assert calls == [0, 0, 1]
    assert stored(tmp_path / "cut")["DetectionDataModule"]["position"] == [1, 5]
    start("cut", **options)
    assert differences(tmp_path / "whole", tmp_path / "cut") == []


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="senders of signals are not told")
def test_what_loads_the_data_outlives_a_signal_to_all_processes(
    model_config, dataset, tmp_path, in_a_process
) -> None:
    """As `timeout` and SLURM send it: the run saves its state as if it alone had been told."""
    loading = dataset.model_copy(update={"workers": 2})

    def tell_all(event: RunEvent) -> None:
        if event.kind == "step" and event.step == 2:
            loaders = [child.sentinel for child in multiprocessing.active_children()]
            command = ["kill", "-s", "TERM", "--", f"-{os.getpgid(0)}"]
            subprocess.run(command, check=True, start_new_session=True)
            assert wait(loaders, timeout=1) == []

    def work() -> None:
        os.setsid()
        options = TrainConfig.model_validate(OPTIONS)
        with pytest.raises(TrainingPreempted):
            train(model_config, loading, options, tmp_path, observers=[tell_all])

    assert in_a_process(work) == 0
    assert stored(tmp_path)["global_step"] == 2


def test_slurm_announces_the_end_with_another_signal(start, tmp_path, as_ranks) -> None:
    """SIGUSR1 to one of two tasks saves once and ends both; Lightning's own saving is off."""

    def work() -> None:
        first = os.environ["SLURM_PROCID"] == "0"
        observers = [KillAt(2, signal.SIGUSR1, "step")] if first else []
        with pytest.raises(TrainingPreempted, match="SIGUSR1" if first else "another process"):
            start("cut", *observers, num_epochs=1, checkpoint_interval_steps=None)

    assert as_ranks(work, "slurm") == [0, 0]
    assert [path.name for path in (tmp_path / "cut").glob("*.*t*")] == [LATEST_NAME]


def test_ctrl_c_stays_a_keyboard_interrupt(start) -> None:
    """Lightning's own exit does not reach the caller, and Ctrl+C works afterwards."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        start("cut", KillAt(2, signal.SIGINT, "step"))
    assert signal.getsignal(signal.SIGINT) == before


def test_ctrl_c_waits_for_the_gradients(start, monkeypatch) -> None:
    """An exception inside the backward pass would make PyTorch crash at the process's end."""
    whole, backward = [], torch.Tensor.backward

    def interrupted(self: torch.Tensor, *arguments: Any, **options: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        backward(self, *arguments, **options)
        whole.append(True)

    monkeypatch.setattr(torch.Tensor, "backward", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        start("cut")
    assert whole == [True]
    assert signal.getsignal(signal.SIGINT) == before


def test_sigterm_says_when_the_same_command_would_begin_again(start, tmp_path) -> None:
    """A run from a given checkpoint continues without that option alone."""
    start("first", num_epochs=1)
    given = tmp_path / "first" / LATEST_NAME
    with pytest.raises(TrainingPreempted, match=r"without train\.resume_training"):
        start("cut", KillAt(2, signal.SIGTERM, "step"), resume_training_checkpoint_path=given)


def test_a_resumed_fine_tuning_keeps_its_norms_frozen(run_training, tmp_path) -> None:
    """Interrupted after an epoch or not, fine-tuning ends with the same weights."""
    start = run_training(results_dir=tmp_path / "start", num_epochs=1).latest_checkpoint
    options = {"pretrained_model_path": start}
    run_training(results_dir=tmp_path / "whole", num_epochs=2, **options)
    run_training(results_dir=tmp_path / "parts", num_epochs=1, **options)
    run_training(results_dir=tmp_path / "parts", num_epochs=2, **options)
    assert differences(tmp_path / "whole", tmp_path / "parts") == []


def test_a_folder_has_one_training_at_a_time(tmp_path, in_a_process) -> None:
    """The second is refused by the first one's process; its own end frees the folder."""
    said = tmp_path / "said"

    def second() -> None:
        try:
            with folder_locked(tmp_path / "run"):
                said.write_text("free")
        except FolderInUseError as error:
            said.write_text(str(error))

    with folder_locked(tmp_path / "run"):
        assert in_a_process(second) == 0
        with folder_locked(tmp_path / "run"):  # nothing more to hold, and nothing let go
            pass
        assert in_a_process(second) == 0
    assert f"in use by another training (process {os.getpid()} on " in said.read_text()
    assert in_a_process(second) == 0
    assert said.read_text() == "free"
    assert list((tmp_path / "run").iterdir()) == []


def running_means(saved: dict[str, Any]) -> Tensor:
    """One that AdamW keeps for the first parameter."""
    means: Tensor = saved["optimizer_states"][0]["state"][0]["exp_avg"]
    return means


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda saved: saved.pop("optimizer_states"), "no training state"),
        (lambda saved: next(iter(saved["state_dict"].values())).fill_(float("nan")), "NaN"),
        (lambda saved: running_means(saved).fill_(float("nan")), "NaN .* optimiser state"),
        (lambda saved: running_means(saved).resize_(3), "optimiser state of shape"),
        (lambda saved: saved["optimizer_states"][0].pop("state"), "damaged optimiser state"),
        (lambda saved: saved["optimizer_states"][0]["param_groups"].pop(), "groups of"),
        (lambda saved: saved["loops"]["fit_loop"].clear(), "how many epochs"),
    ],
    ids=["no optimiser", "NaN", "NaN mean", "other shape", "no state", "fewer groups", "no loop"],
)
def test_a_checkpoint_that_cannot_go_on_is_refused_first(
    run_training, tmp_path, damage, words
) -> None:
    """Before anything is written: Lightning would find it in the midst of a run."""
    run_training(num_epochs=1)
    path = next(tmp_path.rglob(LATEST_NAME))
    saved = torch.load(path, weights_only=True)
    damage(saved)
    torch.save(saved, tmp_path / "odd.pth")
    before = {each: each.read_bytes() for each in path.parent.rglob("*") if each.is_file()}
    with pytest.raises(ValueError, match=words):
        run_training(num_epochs=2, resume_training_checkpoint_path=tmp_path / "odd.pth")
    after = {each: each.read_bytes() for each in path.parent.rglob("*") if each.is_file()}
    assert after == before
