"""A validation that fails costs no epoch."""
# fault 34

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ddetr_train.checkpoints import BEST_NAME, LATEST_NAME
from ddetr_train.module import DetectionModule


@pytest.fixture
def fails(monkeypatch):
    """Let the validation of an epoch fail in a block."""
    validate = DetectionModule.validation_step

    def in_epoch(number: int, error: BaseException | None = None) -> pytest.MonkeyPatch:
        patch = pytest.MonkeyPatch()

        def instead(self: DetectionModule, *arguments: Any) -> Any:
            if self.current_epoch == number:
                raise error or ValueError("an image is damaged")
            return validate(self, *arguments)

        patch.setattr(DetectionModule, "validation_step", instead)
        return patch

    return in_epoch


def stored(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / LATEST_NAME, weights_only=True)
    return found


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_the_next_start_goes_on_with_it(run_training, recorder, tmp_path, fails, ema_decay) -> None:
    """The same state as of a run that never failed: weights, scores, the best file."""
    options = {"num_epochs": 3, "ema_decay": ema_decay, "early_stopping_patience": 5}
    run_training(results_dir=tmp_path / "whole", **options)
    folder = tmp_path / "run"
    recorder.events.clear()
    patch = fails(1)
    with pytest.raises(ValueError, match="an image is damaged"):
        run_training(results_dir=folder, **options)
    patch.undo()
    told = f"the validation of epoch 1 has failed; {folder / LATEST_NAME} has the epoch"
    assert told in recorder.text()
    assert stored(folder)["global_step"] == 10
    assert stored(folder)["ddetr"]["metrics"].keys() == {"train_loss"}
    recorder.events.clear()
    run_training(results_dir=folder, **options)
    assert [event.epoch for event in recorder.of("step")] == [2] * 5
    assert [event.epoch for event in recorder.of("validation")] == [1, 2]
    whole, again = stored(tmp_path / "whole"), stored(folder)
    assert all(
        torch.equal(whole["state_dict"][name], value) for name, value in again["state_dict"].items()
    )
    assert whole["ddetr"]["metrics"] == pytest.approx(again["ddetr"]["metrics"], nan_ok=True)
    for key in ("Checkpoints", "EarlyStopping{'monitor': 'val_AP', 'mode': 'max'}"):
        assert whole["callbacks"][key] == again["callbacks"][key]
    epochs = [
        torch.load(each / BEST_NAME, weights_only=True)["epoch"]
        for each in (tmp_path / "whole", folder)
    ]
    assert epochs[0] == epochs[1]


@pytest.mark.parametrize("change", ["no validation any more", "another interval"])
def test_a_start_without_it_goes_on_after_the_epoch(
    run_training, recorder, dataset, fails, change
) -> None:
    """The epoch is whole; what there is no longer is not waited for."""
    patch = fails(0)
    with pytest.raises(ValueError, match="damaged"):
        run_training(num_epochs=3)
    patch.undo()
    recorder.events.clear()
    if change == "another interval":
        run_training(num_epochs=3, validation_interval=3)
    else:
        run_training(num_epochs=3, data=dataset.model_copy(update={"val_data_sources": ()}))
    assert [event.epoch for event in recorder.of("step")] == [1] * 5 + [2] * 5
    assert [event.epoch for event in recorder.of("epoch")][-2:] == [1, 2]
    expected = [2] if change == "another interval" else []
    assert [event.epoch for event in recorder.of("validation")] == expected


def test_the_last_epochs_validation_is_not_lost(run_training, recorder, fails) -> None:
    """A run of which it is all that is left is not done."""
    patch = fails(1)
    with pytest.raises(ValueError, match="damaged"):
        run_training(num_epochs=2)
    patch.undo()
    recorder.events.clear()
    result = run_training(num_epochs=2)
    assert recorder.of("step") == []
    assert [event.epoch for event in recorder.of("validation")] == [1]
    assert "val_AP" in result.metrics
