"""Regions and crowded images in a training: what trains, what is scored, what is told."""

from __future__ import annotations

import json
from pathlib import Path

from ddetr_data.coco import load_sources
from ddetr_data.config import DataSource
from ddetr_train.data import DetectionDataModule


def marked(source: DataSource, folder: Path, key: str) -> DataSource:
    """The same source, its first object marked."""
    content = json.loads(Path(source.json_file[0]).read_text())
    content["annotations"][0][key] = 1
    path = folder / f"{key}.json"
    path.write_text(json.dumps(content))
    return source.model_copy(update={"json_file": (str(path),)})


def test_a_run_with_regions_trains_and_scores(run_training, dataset, recorder, tmp_path) -> None:
    """Its targets have them, and a resume without them is refused as another set of labels."""
    # fault 22
    train = marked(dataset.train_data_sources[0], tmp_path, "ignore")
    changed = {"train_data_sources": (train,), "ignore_regions": True}
    with_regions = dataset.model_copy(update=changed)
    data = DetectionDataModule(with_regions, seed=0, num_classes=4)
    assert sum(record.is_region.sum() for record in data.train_set.images) == 1
    plain = dataset.model_copy(update={"train_data_sources": (train,)})
    other = DetectionDataModule(plain, seed=0, num_classes=4)
    assert data.identity()["labels"] != other.identity()["labels"]
    batches = list(data.train_dataloader())
    assert sum("regions" in target for batch in batches for target in batch.targets) >= 1
    result = run_training(data=with_regions, num_epochs=1)
    assert result.metrics["train_loss"] > 0


def test_validation_counts_as_many_as_it_is_told(run_training, dataset, recorder, tmp_path) -> None:
    """The figures bear the limit's name, and images that hold more are told before the run."""
    # fault 23
    result = run_training(num_epochs=1, max_detections=1)
    assert {"val_AR1", "val_ARs"} <= result.metrics.keys()
    assert "val_AR100" not in result.metrics
    assert "objects (up to " in recorder.text()
    written = json.loads((tmp_path / "run/validation/results.json").read_text())
    assert written["max_detections"] == 1


def test_validation_detects_known_classes_alone(run_training, dataset, tmp_path) -> None:
    """Background takes no place of the best in a validation."""
    # fault 29
    run_training(num_epochs=1)
    found = json.loads((tmp_path / "run/validation/detections.json").read_text())
    known = {each.id for each in load_sources(dataset.val_data_sources, num_classes=4).categories}
    assert found
    assert {row["category_id"] for row in found} <= known
