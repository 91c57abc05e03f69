"""Work divided among processes gives what one process would."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddetr_data.config import DatasetConfig, DataSource, InferSource
from ddetr_data.detection import (
    ALONE,
    Detector,
    EvaluateConfig,
    InferenceConfig,
    RankSlice,
    evaluate,
    label,
)
from ddetr_data.synthetic import make_dataset
from ddetr_data.types import Category, Detections


@dataclass(frozen=True)
class ThreadSlice(RankSlice):
    """Threads instead of processes."""

    barrier: Any = None
    values: dict[int, Any] = field(default_factory=dict)

    def gather(self, value: Any) -> list[Any]:
        self.values[self.index] = value
        self.barrier.wait(timeout=30)
        return [self.values[index] for index in range(self.count)]


class StubDetector(Detector):
    """One box, by the image's brightness; counts its calls."""

    categories = (Category(1, "bag"), Category(2, "traffic light"), Category(3, "face"))

    def __init__(self, batch_size: int = 2) -> None:
        self.batch_size = batch_size
        self.seen = 0

    def predict(self, images) -> list[Detections]:
        self.seen += len(images)
        return [self._found(image) for image in images]

    def _found(self, image) -> Detections:
        opened = image if isinstance(image, Image.Image) else Image.open(image)
        grey = float(np.asarray(opened.convert("L")).mean()) / 255
        box = np.array([[1, 2, 3 + 20 * grey, 40]], np.float32)
        return Detections(box, np.array([grey], np.float32), np.array([1 + int(grey * 3) % 3]))


def in_ranks(count: int, work) -> list[Any]:
    """Run work(ranks) in as many threads."""
    barrier, values = threading.Barrier(count), {}
    slices = [ThreadSlice(index, count, barrier, values) for index in range(count)]
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(work, slices))


def images_of(folder: Path) -> DatasetConfig:
    return DatasetConfig(infer_data_sources=InferSource(image_dir=str(folder)))


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize(("total", "batch_size", "count"), [(0, 2, 3), (1, 4, 2), (11, 3, 4)])
def test_every_position_is_in_one_slice_and_batches_stay_whole(total, batch_size, count) -> None:
    """Slices follow one another; each begins where one process would begin a batch."""
    slices = [RankSlice(index, count).of(total, batch_size) for index in range(count)]
    assert [position for part in slices for position in part] == list(range(total))
    assert all(part.start % batch_size == 0 for part in slices if part)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_divided_labels_equal_those_of_one(count: int, tmp_path: Path) -> None:
    """All files byte for byte: names that clash, a damaged image, more processes than work."""
    folder = tmp_path / "in"
    for grey, name in enumerate(("a.jpg", "a.png", "sub/a.png", "s\u00fc\u00df.png", "z.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (64, 48), 40 + 40 * grey).save(folder / name)
    (folder / "damaged.png").write_bytes(b"no image")
    config = InferenceConfig(conf_threshold=0.2, coco_json=True, csv=True)

    def label_in(name: str, ranks: RankSlice) -> Any:
        return label(StubDetector(), images_of(folder), config, tmp_path / name, ranks=ranks)

    one = label_in("one", ALONE)
    found = in_ranks(count, lambda ranks: label_in("many", ranks))
    assert contents(tmp_path / "one") == contents(tmp_path / "many")
    for summary in found:
        assert (summary.images, summary.detections) == (5, one.detections)
        assert summary.per_class == one.per_class
        assert summary.unreadable == (folder / "damaged.png",)


def test_a_failed_run_leaves_no_rank_files(tmp_path: Path) -> None:
    """Nor those of a process that was killed and could not remove its own."""

    class LostSlice(RankSlice):
        def gather(self, value: Any) -> list[Any]:
            raise RuntimeError("another process has ended")

    (tmp_path / "in").mkdir()
    Image.new("L", (64, 48)).save(tmp_path / "in" / "a.png")
    killed = tmp_path / "out" / ".detections.images.1.part"
    killed.parent.mkdir()
    killed.touch()
    with pytest.raises(RuntimeError, match="another process"):
        label(
            StubDetector(),
            images_of(tmp_path / "in"),
            InferenceConfig(csv=True),
            tmp_path / "out",
            ranks=LostSlice(0, 2),
        )
    assert list((tmp_path / "out").glob(".*")) == []


def test_divided_scores_equal_those_of_one(tmp_path: Path) -> None:
    """Each image is looked at once, and every process has all scores and detections."""
    made = make_dataset(tmp_path, num_images={"test": 7}, image_size_hw=(48, 48), num_classes=3)
    source = DataSource(
        image_dir=str(made.image_dirs["test"]), json_file=str(made.json_files["test"])
    )
    dataset = DatasetConfig(test_data_sources=(source,), dataset_type="default")
    detectors = [StubDetector() for _ in range(3)]
    for detector in (alone := StubDetector(), *detectors):
        detector.categories = ()  # it does not say what its classes are called

    def score(name: str, detector: Detector, ranks: RankSlice) -> Any:
        return evaluate(detector, dataset, EvaluateConfig(), tmp_path / name, ranks=ranks)

    one = score("one", alone, ALONE)
    found = in_ranks(3, lambda ranks: score("many", detectors[ranks.index], ranks))
    assert [detector.seen for detector in detectors] == [2, 2, 3]
    assert all(scores.to_dict() == one.to_dict() for scores in found)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")
