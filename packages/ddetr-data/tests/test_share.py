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

from ddetr_data.config import DataSource
from ddetr_data.detection import LabelOptions, Share, evaluate_detector, find_media, label_media
from ddetr_data.loading import open_sources
from ddetr_data.synthetic import make_dataset
from ddetr_data.types import Category, Detections


@dataclass(frozen=True)
class ThreadShare(Share):
    """Threads in the place of processes."""

    barrier: Any = None
    values: dict[int, Any] = field(default_factory=dict)

    def gather(self, value: Any) -> list[Any]:
        self.values[self.index] = value
        self.barrier.wait(timeout=30)
        return [self.values[index] for index in range(self.count)]


class StubDetector:
    """One box, by the picture's brightness; counts its calls."""

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


def in_shares(count: int, work) -> list[Any]:
    """Run work(share) in as many threads."""
    barrier, values = threading.Barrier(count), {}
    shares = [ThreadShare(index, count, barrier, values) for index in range(count)]
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(work, shares))


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize(("total", "batch_size", "count"), [(0, 2, 3), (1, 4, 2), (11, 3, 4)])
def test_every_place_is_in_one_share_and_batches_stay_whole(total, batch_size, count) -> None:
    """Shares follow one another; each begins where one process would begin a batch."""
    shares = [Share(index, count).of(total, batch_size) for index in range(count)]
    assert [place for share in shares for place in share] == list(range(total))
    assert all(share.start % batch_size == 0 for share in shares if share)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_shared_labels_equal_those_of_one(count: int, tmp_path: Path) -> None:
    """All files byte for byte: names that clash, a damaged picture, more processes than work."""
    folder = tmp_path / "in"
    for grey, name in enumerate(("a.jpg", "a.png", "sub/a.png", "s\u00fc\u00df.png", "z.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (64, 48), 40 + 40 * grey).save(folder / name)
    (folder / "damaged.png").write_bytes(b"no picture")
    images, videos = find_media([folder])
    options = LabelOptions(conf_threshold=0.2, coco_json=True, csv_file=True)
    one = label_media(StubDetector(), images, videos, tmp_path / "one", options)

    def label(share: Share) -> Any:
        return label_media(StubDetector(), images, videos, tmp_path / "many", options, share=share)

    found = in_shares(count, label)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")
    for summary in found:
        assert (summary.images, summary.detections) == (5, one.detections)
        assert summary.per_class == one.per_class
        assert summary.unreadable == (folder / "damaged.png",)


def test_a_failed_run_leaves_no_spools(tmp_path: Path) -> None:
    """Nor those of a process that was killed and could not remove its own."""

    class LostShare(Share):
        def gather(self, value: Any) -> list[Any]:
            raise RuntimeError("another process has ended")

    (tmp_path / "in").mkdir()
    Image.new("L", (64, 48)).save(tmp_path / "in" / "a.png")
    killed = tmp_path / "out" / ".detections.images.1.part"
    killed.parent.mkdir()
    killed.touch()
    images, videos = find_media([tmp_path / "in"])
    with pytest.raises(RuntimeError, match="another process"):
        label_media(
            StubDetector(), images, videos, tmp_path / "out", LabelOptions(), share=LostShare(0, 2)
        )
    assert list((tmp_path / "out").glob(".*")) == []


def test_shared_scores_equal_those_of_one(tmp_path: Path) -> None:
    """Each image is looked at once, and every process has all scores and detections."""
    made = make_dataset(tmp_path, num_images={"test": 7}, image_size_hw=(48, 48), num_classes=3)
    source = DataSource(
        image_dir=str(made.image_dirs["test"]), json_file=str(made.json_files["test"])
    )
    labelled = open_sources([source], num_classes=4)
    one = evaluate_detector(StubDetector(), labelled)
    detectors = [StubDetector() for _ in range(3)]
    found = in_shares(
        3, lambda share: evaluate_detector(detectors[share.index], labelled, share=share)
    )
    assert [detector.seen for detector in detectors] == [2, 2, 3]
    for scores, results in found:
        assert scores.to_dict() == one[0].to_dict()
        assert results == one[1]
