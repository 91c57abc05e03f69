"""Every recipe in docs/specs is explained, loads, and builds the model that it describes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddetr_cli.spec import Experiment, load_spec
from ddetr_model.deformable_detr import DeformableDETR
from ddetr_train.module import build_optimizer, build_schedule, parameter_groups

SPECS = sorted((Path(__file__).resolve().parent.parent / "docs" / "specs").glob("*.yaml"))
WANTED = {"finetune_small_set", "bccd_from_scratch", "coco_50_epochs", "coco_1x"}


def test_the_recipes_are_there() -> None:
    """For fine-tuning, for a small set from nothing, and for COCO in two lengths."""
    assert {path.stem for path in SPECS} >= WANTED


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_recipe_is_explained_and_loads(path: Path) -> None:
    """Its first lines say what it is for and how it is started; no key is unknown."""
    heading = [line for line in path.read_text("utf-8").splitlines()[:8] if line.startswith("#")]
    assert "ddetr train -e" in "\n".join(heading)
    loaded = load_spec(Experiment, path)
    assert loaded.notices == ()
    experiment = loaded.spec
    assert experiment.dataset.train_data_sources
    optim, num_epochs = experiment.train.optim, experiment.train.num_epochs
    falls = optim.lr_scheduler == "Cosine" or min(optim.lr_steps) < num_epochs
    assert falls or path.stem == "bccd_one_epoch"


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_recipe_describes_a_model_that_trains(path: Path) -> None:
    """It is built, with its optimiser, its rates and its schedule; the weights' file aside."""
    experiment = load_spec(Experiment, path).spec
    config = experiment.model.architecture(pretrained_backbone_path=None)
    network = DeformableDETR(config, losses=experiment.model.losses(), load_backbone_file=False)
    optim = experiment.train.optim.spanning(experiment.train.num_epochs)
    groups = parameter_groups(network.named_parameters(), optim)
    assert [group["name"] for group in groups] == ["base", "backbone", "linear_proj"]
    build_schedule(build_optimizer(groups, optim), optim)
