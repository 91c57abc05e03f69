"""Every kind of images at every door: found, read, and named and counted where it is damaged."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from ddetr_data import DataError
from ddetr_data.check import CheckOptions, check_dataset
from ddetr_data.config import DatasetConfig, DataSource, InferSource
from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import convert
from ddetr_data.detection import Detector, EvaluateConfig, InferenceConfig, evaluate, label
from ddetr_data.files import write_whole
from ddetr_data.images import IMAGE_ENDINGS, PreprocessConfig, open_image, save_image
from ddetr_data.loading import open_sources
from ddetr_data.torch import DetectionDataset, EvalTransform
from ddetr_data.types import Category, Detections
from ddetr_export import open_detector
from ddetr_export.config import CalibrationConfig
from ddetr_export.serving import create_app
from ddetr_export.tensorrt import calibrate

TOY = Path(__file__).parents[2] / "packages/ddetr-export/tests/toy_model.py"
WIDTH, HEIGHT = 40, 30
IMAGE = Image.fromarray(
    np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
)
KITTI = "bag 0 0 0 4 5 20 25 0 0 0 0 0 0 0\n"


@dataclass(frozen=True)
class Outcome:
    """What became of the images of a folder."""

    read: frozenset[str]  # names
    said: str  # of those that were not read
    unread: int  # as it is counted there


@dataclass(frozen=True)
class Folder:
    """images/, their COCO labels, and their KITTI labels in labels/."""

    path: Path

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in (self.path / "images").iterdir())

    @property
    def source(self) -> DataSource:
        return DataSource(image_dir=self.path / "images", json_file=self.path / "labels.json")

    def label(self) -> None:
        """Write labels for all images that are there."""
        rows = [
            {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
            for number, name in enumerate(self.names, start=1)
        ]
        boxes = [
            {"id": row["id"], "image_id": row["id"], "category_id": 1, "bbox": [4, 5, 16, 20]}
            for row in rows
        ]
        table = {"images": rows, "annotations": boxes, "categories": [{"id": 1, "name": "bag"}]}
        (self.path / "labels.json").write_text(json.dumps(table))
        (self.path / "mapping.json").write_text(json.dumps({"bag": "bag"}))
        for name in self.names:
            (self.path / "labels").mkdir(exist_ok=True)
            (self.path / "labels" / f"{Path(name).stem}.txt").write_text(KITTI)


class Reading(Detector):
    """Reads what it is given, and finds nothing."""

    categories = (Category(1, "bag"),)
    batch_size = 2

    def __init__(self) -> None:
        self.names: set[str] = set()

    def predict(self, images) -> list[Detections]:
        for image in images:
            assert open_image(image).size == (WIDTH, HEIGHT)
            self.names.add(getattr(image, "name", ""))
        return [Detections.empty() for _ in images]


def by_check(folder: Folder) -> Outcome:
    report = check_dataset({"set": [folder.source]}, CheckOptions(workers=1))
    locations = [location for each in report.findings for location in each.locations]
    said = "\n".join(each for each in locations if "cannot be read" in each)
    read = {name for name in folder.names if name not in said}
    return Outcome(frozenset(read), said, report.counts.get("unreadable_image", 0))


def by_train(folder: Folder) -> Outcome:
    """With corrupt_images=skip; the data are opened as a training opens them."""
    labelled = open_sources([folder.source], num_classes=2, corrupt_images="skip")
    dataset = DetectionDataset(labelled, EvalTransform(PreprocessConfig(shortest_edge=HEIGHT)))
    read = {labelled.images[index].file_name for index in range(len(dataset)) if dataset[index]}
    unread = labelled.faults.get("unreadable_image", 0)
    said = labelled.faults.first("unreadable_image") if unread else ""
    return Outcome(frozenset(read), said, unread)


def by_strict_train(folder: Folder) -> Outcome:
    """With corrupt_images=error, which refuses to start."""
    try:
        labelled = open_sources([folder.source], num_classes=2, corrupt_images="error")
    except DataError as error:
        return refusal(error)
    return Outcome(frozenset(record.file_name for record in labelled.images), "", 0)


def refusal(error: DataError) -> Outcome:
    """As "2 of 3 images cannot be used: ..."."""
    return Outcome(frozenset(), str(error), int(str(error).partition(" of ")[0]))


def by_evaluate(folder: Folder) -> Outcome:
    detector = Reading()
    dataset = DatasetConfig(test_data_sources=folder.source, num_classes=2)
    try:
        evaluate(detector, dataset, EvaluateConfig(), folder.path / "out")
    except DataError as error:
        return refusal(error)
    return Outcome(frozenset(detector.names), "", 0)


def by_inference(folder: Folder) -> Outcome:
    dataset = DatasetConfig(infer_data_sources=InferSource(image_dir=str(folder.path / "images")))
    summary = label(Reading(), dataset, InferenceConfig(coco_json=True), folder.path / "out")
    rows = json.loads((folder.path / "out" / "detections.json").read_text())["images"]
    read = {row["file_name"] for row in rows}
    copies = list((folder.path / "out" / "images_annotated").iterdir())
    assert summary.images == len(read) == len(copies)
    return Outcome(frozenset(read), " ".join(map(str, summary.unreadable)), len(summary.unreadable))


def by_convert(folder: Folder) -> Outcome:
    config = ConvertConfig(
        input_source=str(folder.path),
        image_dir_name="images",
        label_dir_name="labels",
        mapping_path=str(folder.path / "mapping.json"),
        results_dir=folder.path / "out",
        num_shards=1,
        workers=1,
    )
    summary = convert(config)
    (shard,) = summary.folds[0].json_files
    read = {Path(row["file_name"]).name for row in json.loads(shard.read_text())["images"]}
    unread = sum(summary.dropped.get("unreadable_image", {}).values())
    assert summary.faults_file is not None
    return Outcome(frozenset(read), summary.faults_file.read_text(), unread)


def by_calibration(folder: Folder) -> Outcome:
    """The images that were not left out are those that gave ranges."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("ddetr_export").addHandler(handler)
    try:
        images = CalibrationConfig(cal_image_dir=str(folder.path / "images"), cal_batches=10)
        calibrate(toy_file(), "toy", images)
    finally:
        logging.getLogger("ddetr_export").removeHandler(handler)
    skipped = [text for text in told if text.startswith("skipped")]
    read = {name for name in folder.names if not any(f"/{name}" in text for text in skipped)}
    counted = [int(text.rpartition(" ")[2]) for text in told if text not in skipped]
    return Outcome(frozenset(read), "\n".join(skipped), sum(counted))


def by_serve(folder: Folder) -> Outcome:
    write_whole(folder.path / "toy.onnx", toy_file())
    client = TestClient(create_app(open_detector(folder.path / "toy.onnx")))
    read, refused = set(), []
    for name in folder.names:
        reply = client.post("/predict", content=(folder.path / "images" / name).read_bytes())
        if reply.status_code == 200:
            read.add(name)
        else:
            assert reply.status_code == 400
            refused.append(f"{name}: {reply.json()['detail']}")
    return Outcome(frozenset(read), "\n".join(refused), len(refused))


DOORS: dict[str, Callable[[Folder], Outcome]] = {
    "check": by_check,
    "train": by_train,
    "strict train": by_strict_train,
    "evaluate": by_evaluate,
    "inference": by_inference,
    "convert": by_convert,
    "calibration": by_calibration,
    "serve": by_serve,
}


@cache
def toy_file() -> bytes:
    spec = importlib.util.spec_from_file_location("toy_model", TOY)
    assert spec is not None
    assert spec.loader is not None
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)
    from ddetr_export.onnx import write_metadata

    model = toy.toy_model("batch")
    write_metadata(model, toy.toy_metadata())
    content: bytes = model.SerializeToString()
    return content


def damaged(whole: bytes, ending: str) -> bytes:
    """A file of the kind that its decoder refuses at the header, since `convert` reads no more."""
    if ending.startswith(".avif"):  # the decoder itself raises, and no OSError
        return whole.replace(b"iloc", b"ilox").replace(b"iinf", b"iinx")
    return whole[:6] if whole.startswith(b"P") else whole[:11]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "images").mkdir()
    return Folder(tmp_path)


@pytest.mark.parametrize("door", DOORS)
def test_every_kind_is_found_and_read(folder: Folder, door: str) -> None:
    """One list of kinds stands behind all doors."""
    names = sorted(f"{ending[1:]}{ending}" for ending in IMAGE_ENDINGS)
    for name in names:
        save_image(IMAGE, folder.path / "images" / name)
    folder.label()
    outcome = DOORS[door](folder)
    assert sorted(outcome.read) == names
    assert outcome.unread == 0


@pytest.mark.parametrize("ending", sorted(IMAGE_ENDINGS))
@pytest.mark.parametrize("door", DOORS)
def test_a_damaged_file_of_every_kind_is_named_and_counted(
    folder: Folder, door: str, ending: str
) -> None:
    """No decoder's failure ends a door without the file's name; the others are read."""
    images = folder.path / "images"
    save_image(IMAGE, images / "good.png")
    save_image(IMAGE, images / f"whole{ending}")
    (images / f"bad{ending}").write_bytes(damaged((images / f"whole{ending}").read_bytes(), ending))
    folder.label()
    outcome = DOORS[door](folder)
    is_refused = door in ("strict train", "evaluate")
    others = set() if is_refused else {"good.png", f"whole{ending}"}
    assert outcome.read == others
    assert f"bad{ending}" in outcome.said
    assert outcome.unread == 1


@pytest.mark.parametrize("door", DOORS)
def test_a_decoder_is_met_under_any_name(folder: Folder, door: str) -> None:
    """A damaged AVIF raises a RuntimeError, whatever the file is called."""
    encoded = io.BytesIO()
    IMAGE.save(encoded, "AVIF")
    save_image(IMAGE, folder.path / "images" / "good.png")
    bad = damaged(encoded.getvalue(), ".avif")
    (folder.path / "images" / "bad.jpg").write_bytes(bad)
    folder.label()
    outcome = DOORS[door](folder)
    assert "bad.jpg" in outcome.said
    assert outcome.unread == 1


@pytest.mark.parametrize("door", ["train", "check", "evaluate", "serve"])
def test_kinds_outside_the_list_are_not_opened(folder: Folder, door: str) -> None:
    """PostScript that labels name, or that calls itself an image, starts no Ghostscript."""
    save_image(IMAGE, folder.path / "images" / "good.png")
    for name in ("drawing.eps", "drawing.png"):
        drawing = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
        (folder.path / "images" / name).write_bytes(drawing)
    folder.label()
    outcome = DOORS[door](folder)
    assert outcome.unread == 2
    assert "which is not taken" in outcome.said
