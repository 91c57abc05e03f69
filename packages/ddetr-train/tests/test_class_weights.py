"""Weights of classes come from the spec and the data, and stay those of their run."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch

from ddetr_data import DatasetConfig
from ddetr_data.loading import open_sources
from ddetr_model import DeformableDETR, LossConfig
from ddetr_train.checkpoints import ResumeError
from ddetr_train.nan import NonFiniteError, replay


def named(weights: Any) -> LossConfig:
    return LossConfig(class_weights=weights)


def test_balanced_classes_weigh_alike(
    run_training: Any, recorder: Any, dataset: DatasetConfig
) -> None:
    """All objects / (classes x objects of the class), told before the run."""
    labelled = open_sources(dataset.train_data_sources, num_classes=4)
    counts = np.bincount(np.concatenate([record.labels for record in labelled.images]))[1:]
    assert labelled.class_counts[1:].tolist() == counts.tolist()
    weights = counts.sum() / (3 * counts)
    run_training(is_dry_run=True, losses=named("balanced"))
    told = next(text for text in recorder.text().splitlines() if "class_weights" in text)
    found = [float(number) for number in re.findall(r"([\d.]+) \(", told)]
    assert found == pytest.approx([weights.min(), weights.max()], rel=0.01)


def test_other_classes_are_refused(run_training: Any, dataset: DatasetConfig) -> None:
    """By name or id, with the nearest name; before the first step."""
    name = open_sources(dataset.train_data_sources, num_classes=4).categories[0].name
    for weights, sentence in (
        (
            {f"{name}x": 2},
            f"has '{name}x', which is no class of the training data; did you mean '{name}'",
        ),
        ({"7": 2}, "has '7', which is no class"),
        ({"1": 2, name: 3}, f"has '1' and '{name}', which are one class"),
    ):
        with pytest.raises(ValueError, match=re.escape(sentence)):
            run_training(is_dry_run=True, losses=named(weights))


def test_a_weighted_run_goes_on_as_if_it_had_not_been_cut(run_training: Any, tmp_path: Any) -> None:
    """To the bit; other weights are another run."""
    losses = named({"1": 3.0, "2": 0.5})
    whole = run_training(losses=losses, results_dir=tmp_path / "whole")
    run_training(num_epochs=1, losses=losses)
    with pytest.raises(ResumeError, match=r"model\.class_weights is \{.*\} there and balanced"):
        run_training(losses=named("balanced"))
    resumed = run_training(losses=losses)
    first, second = (
        torch.load(each.latest_checkpoint, weights_only=True) for each in (whole, resumed)
    )
    assert first["state_dict"].keys() == second["state_dict"].keys()
    assert all(torch.equal(v, second["state_dict"][k]) for k, v in first["state_dict"].items())
    assert not any("class_weights" in name for name in first["state_dict"])


def test_a_replay_weighs_as_the_run_did(run_training: Any, model_config: Any) -> None:
    """The evidence of a step holds the weights, which its batch alone could not tell."""
    found = []
    for weights in (None, {str(number): 4.0 for number in (1, 2, 3)}):
        torch.manual_seed(0)
        network = DeformableDETR(model_config, losses=named(weights))
        network.input_proj[1][0].register_forward_hook(lambda _m, _i, output: output * math.nan)
        with pytest.raises(NonFiniteError) as stop:
            run_training(model=network, is_dry_run=False)
        found.append(replay(stop.value.evidence).losses)
    assert found[1]["loss_ce"] > found[0]["loss_ce"]
    assert found[1]["loss_bbox"] == found[0]["loss_bbox"]
