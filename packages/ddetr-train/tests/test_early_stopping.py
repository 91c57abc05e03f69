"""A run that stops because its validations are no better any more."""
# fault 16

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ddetr_train.checkpoints import LATEST_NAME
from ddetr_train.module import DetectionModule

# Of the validation of each epoch.
SCORES = (0.1, 0.3, 0.2, 0.3, 0.25, 0.1, 0.1, 0.4, 0.1, 0.1)
KEY = "EarlyStopping{'monitor': 'val_AP', 'mode': 'max'}"


@pytest.fixture
def scored(monkeypatch) -> Callable[[Sequence[float]], None]:
    """Let the validation of an epoch have this mAP."""
    log = DetectionModule.log

    def install(scores: Sequence[float]) -> None:
        def instead(self: DetectionModule, name: str, *arguments: Any, **options: Any) -> None:
            self.metrics["val_AP"] = scores[self.current_epoch]
            log(self, name, *arguments, **options)

        monkeypatch.setattr(DetectionModule, "log", instead)

    return install


@pytest.fixture
def start(run_training, recorder, scored, dataset) -> Callable[..., list[int]]:
    """Train quickly with SCORES, and give the epochs that were trained."""
    scored(SCORES)
    few = dataset.model_copy(update={"batch_size": 10})

    def run(patience: int | None = 3, num_epochs: int = 9, **options: Any) -> list[int]:
        recorder.events.clear()
        run_training(data=few, num_epochs=num_epochs, early_stopping_patience=patience, **options)
        return [event.epoch for event in recorder.of("epoch")]

    return run


def state(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / LATEST_NAME, weights_only=True)["callbacks"][KEY]
    return found


def test_it_is_told_and_the_same_command_trains_no_more(start, recorder, tmp_path) -> None:
    """With the epoch, the score, and the keys that make it go on."""
    assert start() == [0, 1, 2, 3, 4]
    words = "stopped early after epoch 4: 3 validations in a row were no better than the mAP of "
    assert f"{words}0.3000 of epoch 1" in recorder.text()
    assert recorder.text("finished").endswith("stopped early")
    before = (tmp_path / "run" / LATEST_NAME).read_bytes()
    for _ in range(2):
        assert start() == []
        (notice,) = recorder.of("notice")
        for part in (
            "was stopped early: 3 validations in a row were no better than the mAP of 0.3000 of "
            "epoch 1",
            "nothing is left to train",
            "raise train.early_stopping_patience or train.num_epochs",
        ):
            assert part in notice.message
        assert (tmp_path / "run" / LATEST_NAME).read_bytes() == before
    assert (tmp_path / "run" / "model_epoch_004.pth").is_file()


def test_more_patience_goes_on_counting(start, recorder) -> None:
    """Two more that are no better and it stops again; without any patience it does not."""
    assert start() == [0, 1, 2, 3, 4]
    assert start(patience=5) == [5, 6]
    assert "stopped early after epoch 6: 5 validations" in recorder.text()
    assert start(patience=4) == []
    assert start(patience=None) == [7, 8]
    assert "stopped early" not in recorder.text()


def test_more_epochs_go_on_too_and_count_anew(start, recorder) -> None:
    """Who asks for more of them gets at least as many as the patience."""
    assert start(num_epochs=6) == [0, 1, 2, 3, 4]
    assert start(num_epochs=10) == [5, 6, 7, 8, 9]
    assert "train.num_epochs is larger now, so the run goes on" in recorder.text()
    assert "stopped early" not in recorder.text()
    assert start(num_epochs=10) == []


def test_fewer_epochs_than_are_done_are_nothing_to_train(start, recorder) -> None:
    """The sentence says both numbers."""
    start(patience=None, num_epochs=3)
    assert start(patience=None, num_epochs=2) == []
    assert "has 3 epochs and train.num_epochs is 2" in recorder.text()


def test_patience_that_comes_later_knows_what_was_before(start, recorder) -> None:
    """Validations are counted without it, and the best score is that of the run."""
    assert start(patience=None, num_epochs=4) == [0, 1, 2, 3]
    assert start(patience=3, num_epochs=9) == [4]
    assert "no better than the mAP of 0.3000 of epoch 1" in recorder.text()


def test_less_patience_stops_where_it_is(start, recorder) -> None:
    """What it asks for has been seen."""
    assert start(patience=9, num_epochs=4) == [0, 1, 2, 3]
    assert start(patience=2, num_epochs=4) == []
    assert start(patience=2, num_epochs=5) == [4]  # asked for


def test_the_last_epoch_is_not_early(start, recorder) -> None:
    """Nothing was cut off, so nothing is told."""
    assert start(num_epochs=5) == [0, 1, 2, 3, 4]
    assert "stopped early" not in recorder.text() + recorder.text("finished")
    assert start(num_epochs=5) == []
    assert "has 5 epochs" in recorder.text()


def test_scores_that_are_none_are_no_better(start, scored, recorder) -> None:
    """A validation without a labelled object scores NaN, as long as the patience lasts."""
    scored([math.nan] * 9)
    assert start(patience=2) == [0, 1]
    assert "2 validations in a row were no better than an earlier one" in recorder.text()


def test_the_state_of_before_is_read(start, recorder, tmp_path) -> None:
    """The first checkpoints have Lightning's, which knows no epoch of the best."""
    assert start(num_epochs=4) == [0, 1, 2, 3]
    path = tmp_path / "run" / LATEST_NAME
    contents = torch.load(path, weights_only=True)
    contents["callbacks"][KEY] = {
        "wait_count": 2,
        "stopped_epoch": 0,
        "best_score": torch.tensor(0.3),
        "patience": 3,
    }
    torch.save(contents, path)
    assert start() == [4]
    assert "3 validations in a row were no better than the mAP of 0.3000" in recorder.text()
    assert state(tmp_path / "run")["wait_count"] == 3
