"""Names that file systems take and programs stumble over, at every door that reads folders."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from ddetr_data.check import CheckOptions, check_dataset
from ddetr_data.config import DatasetConfig, DataSource, InferSource
from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import convert
from ddetr_data.detection import Detector, InferenceConfig, label
from ddetr_data.images import find_images
from ddetr_data.loading import open_sources
from ddetr_data.types import Category, Detections

IMAGE = Image.new("RGB", (40, 30), "red")
NAMES = (
    *("a.jpg", "a.txt/inner.jpg", "x.json/inner.jpg", "new\nline.png", " blank .png", "tab\t.png"),
    *("-dash.png", "é.png", '"quoted".png', "x" * 251 + ".jpg", "x" * 251 + ".png", "same.gif"),
    *("y" * 251 + ".tif", "é" * 125 + ".png", "same.bmp", os.fsdecode(b"latin\xe9.png")),
)


class Nothing(Detector):
    """Finds nothing."""

    batch_size = 4
    categories = (Category(1, "cell"),)

    def predict(self, images) -> list[Detections]:
        return [Detections.empty() for _ in images]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All names, a folder that two links lead to, one that leads back up, and two broken links."""
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))
    images = tmp_path / "images"
    for name in NAMES:
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        IMAGE.save(images / name, "PNG")
    for link in ("one", "two"):
        (images / link).symlink_to(images / "a.txt")
    (images / "back").symlink_to(images)
    (images / "a.txt" / "up").symlink_to(images)
    return tmp_path


def relatives(folder: Path) -> list[Path]:
    return [relative for _, relative in find_images(folder / "images")]


def write_labels(folder: Path) -> DataSource:
    names = [relative.as_posix() for relative in relatives(folder)]
    rows = [
        {"id": index, "file_name": name, "width": 40, "height": 30}
        for index, name in enumerate(names, 1)
    ]
    boxes = [
        {"id": row["id"], "image_id": row["id"], "category_id": 1, "bbox": [1, 1, 8, 8]}
        for row in rows
    ]
    labels = {"images": rows, "annotations": boxes, "categories": [{"id": 1, "name": "cell"}]}
    (folder / "json" / "empty.json").mkdir(parents=True)  # a folder that is named like a file
    (folder / "json" / "labels.json").write_text(json.dumps(labels))
    return DataSource(image_dir=folder / "images", json_file=folder / "json")


def test_each_image_is_found_under_each_of_its_names(folder: Path) -> None:
    """Both links are searched, and a way back up ends."""
    # fault 35
    found = {path.as_posix() for path in relatives(folder)}
    assert found == {*NAMES, "one/inner.jpg", "two/inner.jpg"}


def test_inference_writes_both_results_of_each(folder: Path) -> None:
    """No two have one name, none is left out."""
    # fault 35
    dataset = DatasetConfig(infer_data_sources=InferSource(image_dir=folder / "images"))
    config = InferenceConfig(coco_json=True, csv=True)
    summary = label(Nothing(), dataset, config, folder / "out")
    assert summary.images == len(NAMES) + 2
    assert (summary.unreadable, summary.unwritten) == ((), ())
    for results in ("labels", "images_annotated"):
        written = [path for path in (folder / "out" / results).rglob("*") if path.is_file()]
        assert len(written) == summary.images
    rows = json.loads((folder / "out" / "detections.json").read_text())["images"]
    assert {row["file_name"] for row in rows} == {path.as_posix() for path in relatives(folder)}


def test_training_data_and_check_take_each(folder: Path) -> None:
    """From JSON, and again from the store; a folder named like a JSON is none."""
    # fault 35
    source = write_labels(folder)
    for _ in range(2):
        found = open_sources([source], num_classes=2)
        assert len(found.images) == len(NAMES) + 2
    report = check_dataset({"set": [source]}, CheckOptions(workers=1))
    assert report.images == len(NAMES) + 2
    assert not {"missing_image", "unreadable_image", "unusable_json"} & report.counts.keys()


def test_labels_come_back_through_both_conversions(folder: Path) -> None:
    """From COCO to label files and back: every image keeps its own."""
    # fault 35
    source = write_labels(folder)
    to_kitti = ConvertConfig(
        format="coco_to_kitti",
        input_source=str(folder / "json" / "labels.json"),
        results_dir=str(folder / "kitti"),
    )
    assert convert(to_kitti).annotations == len(NAMES) + 2
    (labels,) = {path.parent for path in (folder / "kitti").rglob("a.jpg.txt")}
    report = check_dataset(
        {"set": [DataSource(image_dir=source.image_dir, json_file=labels)]},
        CheckOptions(workers=1),
    )
    assert report.annotations == len(NAMES) + 2
    assert not {"malformed_label_file", "missing_label_file", "label_without_image"} & (
        report.counts.keys()
    )
    sequence = folder / "sequence"
    shutil.copytree(labels, sequence / "labels")
    (folder / "images").rename(sequence / "images")
    for link in ("one", "two"):
        (sequence / "images" / link).unlink()
        (sequence / "images" / link).symlink_to(sequence / "images" / "a.txt")
    (folder / "mapping.json").write_text('{"cell": "cell"}')
    back = convert(
        ConvertConfig(
            input_source=str(sequence),
            image_dir_name="images",
            label_dir_name="labels",
            mapping_path=str(folder / "mapping.json"),
            results_dir=str(folder / "back"),
            workers=1,
        )
    )
    assert (back.images, back.annotations) == (len(NAMES) + 2, len(NAMES) + 2)
    assert back.dropped == {}


def test_links_that_lead_nowhere_are_images_that_cannot_be_read(tmp_path: Path) -> None:
    """To nothing, and to themselves; the others are labelled."""
    # fault 35
    IMAGE.save(tmp_path / "good.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "itself.png").symlink_to(tmp_path / "itself.png")
    dataset = DatasetConfig(infer_data_sources=InferSource(image_dir=tmp_path))
    summary = label(Nothing(), dataset, InferenceConfig(), tmp_path / "out")
    assert summary.images == 1
    assert [path.name for path in summary.unreadable] == ["dangling.png", "itself.png"]
