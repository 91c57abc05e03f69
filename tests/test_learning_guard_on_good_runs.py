"""The guard says nothing of runs that are known to learn: their recorded curves, and their data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ddetr_cli.spec import Experiment, load_spec
from ddetr_data.loading import TrainingLimits, open_sources, training_notices
from ddetr_train.config import TrainConfig
from ddetr_train.learning_guard import EpochFigures, LearningGuard

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SPECS = {"fruits18": "fruits18_overfit.yaml", "bccd": "bccd_from_scratch.yaml"}
DATA = Path(os.environ.get("DDETR_DATA", ROOT.parent / "shared" / "data"))


def recorded_curves() -> dict[str, tuple[list[dict[str, Any]], int]]:
    """The committed curve of each training, and its updates an epoch."""
    blood_cells = json.loads((RESULTS / "bccd_from_scratch.json").read_text("utf-8"))
    curves = {"bccd": (blood_cells["curve"], 52)}  # 205 images in batches of 4
    for path in sorted(RESULTS.glob("recipes_*.json")):
        for recipe, entry in json.loads(path.read_text("utf-8")).items():
            for seed, run in entry["runs"].items():
                images_an_epoch = run["images"] // run["epochs"]
                updates = images_an_epoch // entry["keys"]["dataset.batch_size"]
                curves[f"{path.stem}, {recipe}, {seed}"] = (run["curve"], updates)
    return curves


CURVES = recorded_curves()


@pytest.mark.parametrize("name", CURVES)
def test_a_recorded_curve(name: str) -> None:
    """Each recorded epoch at its own number, and again as if it were the next one."""
    curve, updates_an_epoch = CURVES[name]
    recorded, consecutive = LearningGuard(TrainConfig()), LearningGuard(TrainConfig())
    consecutive.note_batch(curve[0]["train_loss"], 0)
    said = []
    for index, line in enumerate(curve):
        epoch, is_last = line["epoch"] - 1, index + 1 == len(curve)
        updates = (epoch + 1) * updates_an_epoch
        figures = (line["train_loss"], line["val_AP"], updates, is_last)
        said += recorded.after_epoch(EpochFigures(epoch, *figures))
        said += consecutive.after_epoch(EpochFigures(index, *figures))
    assert said == []


@pytest.mark.parametrize("name", SPECS)
def test_the_sets_of_known_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries, boxes at the training size and classes fit."""
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} is not there")
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))
    text = (ROOT / "docs" / "specs" / SPECS[name]).read_text("utf-8")
    spec_file = tmp_path / "spec.yaml"
    spec_file.write_text(text.replace(f"/data/{name}", str(DATA / name)))
    spec = load_spec(Experiment, spec_file).spec
    train, val = (
        open_sources(sources, num_classes=None)
        for sources in (spec.dataset.train_data_sources, spec.dataset.val_data_sources)
    )
    limits = TrainingLimits(
        num_queries=spec.model.num_queries,
        finest_stride=spec.model.finest_stride,
        augmentation=spec.dataset.augmentation,
        images_a_step=spec.dataset.batch_size,
    )
    assert training_notices(train, val, limits) == []
