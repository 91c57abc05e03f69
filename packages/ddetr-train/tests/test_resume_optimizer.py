"""Another optimiser, rate or schedule in a run that goes on."""
# fault 15

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LinearLR, MultiStepLR, ReduceLROnPlateau, StepLR

from ddetr_train.callbacks import TrainingPreempted
from ddetr_train.checkpoints import LATEST_NAME
from ddetr_train.module import PLATEAU_PATIENCE_EPOCHS, DetectionModule, cosine_factor

GROUPS = ("lr_base", "lr_backbone", "lr_linear_proj")
STEPS = 5  # of an epoch
OLD = {"lr": 1e-3, "lr_backbone": 1e-4, "lr_linear_proj_mult": 0.5, "lr_steps": [2]}


def rates(recorder: Any) -> list[dict[str, float]]:
    """What each update of the events worked with."""
    return [{key: event.metrics[key] for key in GROUPS} for event in recorder.of("step")]


def by_hand(
    optim: dict[str, Any], epochs: int, warmup_steps: int = 0
) -> Iterator[dict[str, float]]:
    """Train nothing with PyTorch alone, and give the rates of each update."""
    lr = optim["lr"]
    of_group = (lr, optim["lr_backbone"], lr * optim["lr_linear_proj_mult"])
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": rate} for rate in of_group]
    optimizer = torch.optim.AdamW(groups)
    decay = optim.get("lr_decay", 0.1)
    if optim.get("lr_scheduler") == "StepLR":
        schedule: Any = StepLR(optimizer, optim["lr_step_size"], decay)
    else:
        schedule = MultiStepLR(optimizer, optim["lr_steps"], decay)
    warmup = LinearLR(optimizer, 1 / (warmup_steps + 1), total_iters=max(warmup_steps, 1))
    for _ in range(epochs):
        for _ in range(STEPS):
            found = [group["lr"] for group in optimizer.param_groups]
            yield dict(zip(GROUPS, found, strict=True))
            optimizer.step()
            warmup.step()
        schedule.step()


def stored(folder: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(folder / LATEST_NAME, weights_only=True)
    return checkpoint


@pytest.mark.parametrize(
    ("change", "warmup_steps"),
    [
        ({"lr": 4e-4, "lr_linear_proj_mult": 2.0}, 0),
        ({"lr_backbone": 0.0}, 12),
        ({"lr_steps": [1, 3]}, 0),
        ({"lr_steps": [9]}, 0),
        ({"lr_decay": 0.5, "lr": 3e-3}, 12),
        ({"lr_scheduler": "StepLR", "lr_step_size": 1, "lr_decay": 0.5}, 0),
        ({"optimizer": "SGD", "momentum": 0.5}, 0),
    ],
    ids=str,
)
def test_a_new_curve_is_the_one_made_by_hand(
    run_training, recorder, tmp_path, change, warmup_steps
) -> None:
    """From the epoch at which the run goes on, as if the whole run had had these options."""
    run_training(num_epochs=2, optim=OLD)
    recorder.events.clear()
    new = OLD | change
    options = {"optim": new, "warmup_steps": warmup_steps, "resume_optim": "new"}
    run_training(num_epochs=3, **options)
    run_training(num_epochs=4, **options)
    expected = list(by_hand(new, 4, warmup_steps))[2 * STEPS :]
    assert [list(each.values()) for each in rates(recorder)] == [
        pytest.approx(list(each.values())) for each in expected
    ]
    for key, value in change.items():
        told = recorder.text().count(f"train.optim.{key} was ")
        assert told == (1 if (OLD.get(key) != value) else 0), key
    kept = stored(tmp_path / "run")["hyper_parameters"]["train"]
    assert kept["optim"].items() >= change.items()
    assert "keeps the checkpoint's" not in recorder.text()


COSINE = OLD | {"lr_scheduler": "Cosine", "lr_final_mult": 0.1}


def test_a_cosine_goes_on_as_it_was_planned(run_training, recorder) -> None:
    """More epochs stay at the last rates, and the sentence says what would plan them anew."""
    run_training(num_epochs=3, optim=COSINE, warmup_steps=8)
    recorder.events.clear()
    run_training(num_epochs=5, optim=COSINE, warmup_steps=8)
    assert [each["lr_base"] for each in rates(recorder)] == pytest.approx([1e-4] * 2 * STEPS)
    assert "train.optim.lr_cosine_epochs 3 (not 5)" in recorder.text()
    assert "train.resume_optim new" in recorder.text()


def test_a_new_cosine_spans_the_epochs_that_are_asked_for(run_training, recorder) -> None:
    """The rates are those of a run that was planned for so many from its first step."""
    for epochs, kept in ((2, "keep"), (4, "new")):
        recorder.events.clear()
        run_training(num_epochs=epochs, optim=COSINE, warmup_steps=8, resume_optim=kept)
    found = [each["lr_base"] for each in rates(recorder)]
    assert found == pytest.approx(
        [1e-3 * cosine_factor(e, 4, 0.1) for e in (2, 3) for _ in range(STEPS)]
    )


def test_a_new_curve_begins_inside_an_epoch_too(run_training, recorder, tmp_path) -> None:
    """At the update where the run was stopped, of the warm-up too."""

    def stop(event: Any) -> None:
        if event.kind == "step" and event.step == 7:
            raise KeyboardInterrupt

    options = {"num_epochs": 3, "checkpoint_interval_steps": 1, "warmup_steps": 3}
    with pytest.raises((KeyboardInterrupt, TrainingPreempted)):
        run_training(optim=OLD, observers=[stop], **options)
    done = stored(tmp_path / "run")["global_step"]
    recorder.events.clear()
    new = OLD | {"lr": 5e-4, "lr_steps": [1]}
    run_training(optim=new, resume_optim="new", **options | {"warmup_steps": 10})
    expected = list(by_hand(new, 3, 10))[done:]
    assert [each["lr_base"] for each in rates(recorder)] == pytest.approx(
        [each["lr_base"] for each in expected]
    )


def test_moments_stay_where_the_rule_does(run_training, tmp_path) -> None:
    """A new weight decay keeps them, another update rule begins without."""
    folder = tmp_path / "run"
    run_training(num_epochs=1)
    optim = {"weight_decay": 0.5}
    run_training(num_epochs=2, optim=optim, resume_optim="new")
    saved = stored(folder)["optimizer_states"][0]
    assert {float(each["step"]) for each in saved["state"].values()} == {10.0}
    assert {group["weight_decay"] for group in saved["param_groups"]} == {0.5}
    run_training(num_epochs=3, optim={"optimizer": "SGD"}, resume_optim="new")
    saved = stored(folder)["optimizer_states"][0]
    assert all("exp_avg" not in each for each in saved["state"].values())
    run_training(num_epochs=4, optim={"optimizer": "AdamW"}, resume_optim="new")
    saved = stored(folder)["optimizer_states"][0]
    assert {float(each["step"]) for each in saved["state"].values()} == {5.0}


def test_parameters_change_their_group_with_their_moments(run_training, tmp_path) -> None:
    """Other names for the groups sort anew; a moment follows its parameter."""
    folder = tmp_path / "run"
    run_training(num_epochs=1, optim={"lr": 1e-12, "lr_backbone": 1e-12})
    before = stored(folder)["optimizer_states"][0]
    new = {"lr": 1e-12, "lr_backbone": 1e-12, "linear_proj_names": ["bbox_embed"]}
    with pytest.raises(ValueError, match=r"linear_proj_names .*resume_optim"):
        run_training(num_epochs=2, optim=new)
    run_training(num_epochs=2, optim=new, resume_optim="new")
    after = stored(folder)["optimizer_states"][0]
    sizes = [[len(group["params"]) for group in each["param_groups"]] for each in (before, after)]
    assert sum(sizes[0]) == sum(sizes[1])
    assert sizes[0] != sizes[1]
    assert {float(each["step"]) for each in after["state"].values()} == {10.0}


def test_a_changed_rate_is_kept_and_told_until_it_is_asked_for(
    run_training, recorder, tmp_path
) -> None:
    """The record has what ran, so a third start tells the same truth, and the old rate nothing."""
    run_training(num_epochs=1, optim=OLD)
    wish = {"lr": 9e-3, "optimizer": "SGD", "lr_scheduler": "StepLR"}
    for epochs in (2, 3):
        recorder.events.clear()
        run_training(num_epochs=epochs, optim=OLD | wish, warmup_steps=4)
        (notice,) = [e.message for e in recorder.of("notice") if "train.optim" in e.message]
        for part in (
            "train.optim was changed, but a resumed run keeps the checkpoint's: ",
            "train.optim.lr 0.001 (not 0.009)",
            "train.optim.optimizer AdamW (not SGD)",
            "train.optim.lr_scheduler MultiStep (not StepLR)",
            "train.warmup_steps 0 (not 4)",
            "train.resume_optim new",
        ):
            assert part in notice
        kept = stored(tmp_path / "run")["hyper_parameters"]["train"]
        assert kept["optim"].items() >= {"lr": 1e-3, "optimizer": "AdamW"}.items()
        assert kept["warmup_steps"] == 0
    assert rates(recorder)[0]["lr_base"] == pytest.approx(1e-4)  # after its epoch 2
    recorder.events.clear()
    run_training(num_epochs=4, optim=OLD)
    assert "train.optim" not in recorder.text()


def test_the_same_optimiser_called_new_changes_nothing(run_training, recorder, tmp_path) -> None:
    """Only what differs takes effect: the run ends as one that was left as it was."""
    options = {"optim": OLD, "warmup_steps": 7}
    run_training(num_epochs=2, results_dir=tmp_path / "whole", **options)
    run_training(num_epochs=1, results_dir=tmp_path / "parts", **options)
    recorder.events.clear()
    run_training(num_epochs=2, results_dir=tmp_path / "parts", resume_optim="new", **options)
    whole, parts = (stored(tmp_path / name)["state_dict"] for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert "from here on" not in recorder.text()


@pytest.fixture
def flat_loss(monkeypatch) -> None:
    """Let every epoch seem as good as the first."""
    end = DetectionModule.on_train_epoch_end

    def on_train_epoch_end(self: DetectionModule) -> None:
        self.metrics["val_loss"] = 1.0
        end(self)

    monkeypatch.setattr(DetectionModule, "on_train_epoch_end", on_train_epoch_end)


@pytest.mark.usefixtures("flat_loss")
def test_autoreduce_keeps_what_it_has_reduced(run_training, recorder, dataset) -> None:
    """A new rate is decayed as often as the old one was, and epochs without gain count on."""
    few = dataset.model_copy(update={"batch_size": 10})
    old = {"lr": 1e-3, "lr_scheduler": "AutoReduce", "lr_decay": 0.5}
    epochs = PLATEAU_PATIENCE_EPOCHS + 2
    run_training(num_epochs=epochs, optim=old, data=few)
    assert {event.metrics["lr_base"] for event in recorder.of("step")} == {1e-3}
    recorder.events.clear()
    options = {"data": few, "resume_optim": "new", "num_epochs": 2 * epochs - 1}
    run_training(optim=old | {"lr": 4e-3, "lr_decay": 0.1}, **options)
    parameter = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=4e-3)
    schedule = ReduceLROnPlateau(optimizer, factor=0.1, patience=PLATEAU_PATIENCE_EPOCHS)
    expected = []
    for _ in range(options["num_epochs"]):
        expected.append(optimizer.param_groups[0]["lr"])
        schedule.step(1.0)
    found = [event.metrics["lr_base"] for event in recorder.of("step")]
    assert found == pytest.approx(expected[epochs:])
    assert found[0] == pytest.approx(4e-4)


@pytest.mark.parametrize("first", ["AutoReduce", "MultiStep"])
def test_schedules_of_another_kind_follow_each_other(run_training, recorder, first) -> None:
    """What one has done has no part in the other."""
    kinds = [first, "MultiStep" if first == "AutoReduce" else "AutoReduce"]
    for epochs, kind in enumerate(kinds, start=1):
        recorder.events.clear()
        optim = OLD | {"lr_scheduler": kind, "lr_steps": [1]}
        run_training(num_epochs=epochs, optim=optim, resume_optim="new")
    rate = rates(recorder)[-1]["lr_base"]
    assert rate == pytest.approx(1e-4 if kinds[1] == "MultiStep" else 1e-3)


def test_a_schedule_that_is_kept_needs_its_validation(run_training, dataset) -> None:
    """AutoReduce would never see its figure; the sentence says what to do."""
    run_training(num_epochs=1, optim={"lr_scheduler": "AutoReduce"})
    none = dataset.model_copy(update={"val_data_sources": ()})
    with pytest.raises(ValueError, match=r"lr_monitor val_loss needs dataset\.val"):
        run_training(num_epochs=2, data=none)
    run_training(num_epochs=2, data=none, resume_optim="new")
