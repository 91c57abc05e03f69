"""Images are read ahead and written behind the detector: with the results of one thread."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddetr_data.config import DatasetConfig, DataSource, InferSource
from ddetr_data.detection import (
    Detector,
    EvaluateConfig,
    InferenceConfig,
    InferenceSummary,
    Prepared,
    evaluate,
    label,
    prepared_batches,
)
from ddetr_data.images import read_image
from ddetr_data.parallel import WorkAhead, available_cores
from ddetr_data.synthetic import make_dataset
from ddetr_data.types import Category, Detections

MANY = 8
SMALL_WH, LARGE_WH = (40, 30), (960, 720)


class Brightness(Detector):
    """A box as wide as the image is bright; counts what is prepared and not detected yet."""

    categories = (Category(1, "bag"), Category(2, "car"), Category(3, "hat"))
    num_classes = 4

    def __init__(self, batch_size: int = 1) -> None:
        self.batch_size = batch_size
        self.waiting = self.most_waiting = self.batches = 0
        self._lock = threading.Lock()

    def prepare(self, images: Sequence[Any]) -> Prepared:
        opened = [each if isinstance(each, Image.Image) else read_image(each) for each in images]
        with self._lock:
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)
        return Prepared(images, [float(np.asarray(each).mean()) / 255 for each in opened])

    def predict(self, images: Sequence[Any]) -> list[Detections]:
        found = []
        for batch in prepared_batches(images, self.batch_size, self.prepare):
            with self._lock:
                self.waiting -= 1
            self.batches += 1
            found += [self._found(grey) for grey in batch.inputs]
        return found

    def _found(self, grey: float) -> Detections:
        box = np.array([[1, 2, 3 + 20 * grey, 25]], np.float32)
        return Detections(box, np.array([grey], np.float32), np.array([1 + int(grey * 3) % 3]))


class Failing(Brightness):
    """Raises what it is given in one of its stages, at the sixth image."""

    def __init__(self, stage: str, error: BaseException) -> None:
        super().__init__()
        self.stage, self.error, self.calls = stage, error, {"prepare": 0, "predict": 0}

    def prepare(self, images: Sequence[Any]) -> Prepared:
        self._count("prepare")
        return super().prepare(images)

    def predict(self, images: Sequence[Any]) -> list[Detections]:
        self._count("predict")
        return super().predict(images)

    def _count(self, stage: str) -> None:
        with self._lock:
            self.calls[stage] += 1
            is_due = stage == self.stage and self.calls[stage] == 6
        if is_due:
            raise self.error


def write_images(folder: Path, count: int = 12) -> None:
    """Every third one takes a thousand times as long as the others."""
    folder.mkdir()
    for number in range(count):
        size = LARGE_WH if number % 3 == 0 else SMALL_WH
        Image.new("RGB", size, (250 - 8 * number,) * 3).save(folder / f"{number:02d}.jpg")


def label_all(
    folder: Path, results: Path, detector: Detector, workers: int, **options: Any
) -> InferenceSummary:
    source = InferSource(image_dir=str(folder))
    dataset = DatasetConfig(infer_data_sources=source, workers=workers)
    return label(detector, dataset, InferenceConfig(conf_threshold=0.1, **options), results)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("batch_size", [1, 5])
def test_many_threads_write_what_one_writes(tmp_path: Path, caplog, batch_size: int) -> None:
    """All files byte for byte, in the same order; damaged images in the middle are told alike."""
    write_images(tmp_path / "in")
    for name in ("04.jpg", "07.jpg"):
        (tmp_path / "in" / name).write_bytes(b"no image")
    told, summaries = [], []
    for workers in (0, MANY):
        caplog.clear()
        results, detector = tmp_path / "out", Brightness(batch_size)
        summaries.append(
            label_all(tmp_path / "in", results, detector, workers, coco_json=True, csv=True)
        )
        told.append([record.getMessage() for record in caplog.records])
        results.rename(tmp_path / f"of {workers}")
    assert contents(tmp_path / "of 0") == contents(tmp_path / f"of {MANY}")
    assert summaries[0] == summaries[1]
    assert [path.name for path in summaries[0].unreadable] == ["04.jpg", "07.jpg"]
    assert told[0] == told[1]
    assert len(told[0]) == 2


@pytest.mark.parametrize("batch_size", [1, 3])
def test_memory_does_not_grow_with_the_images(tmp_path: Path, batch_size: int) -> None:
    """However far the threads could go, few batches wait for the detector."""
    write_images(tmp_path / "in", 30)
    detector = Brightness(batch_size)
    label_all(tmp_path / "in", tmp_path / "out", detector, MANY)
    assert detector.batches == 30 // batch_size
    assert detector.most_waiting <= 2 + -(-min(MANY, available_cores()) // batch_size)


@pytest.mark.parametrize("workers", [0, MANY])
@pytest.mark.parametrize("stage", ["prepare", "predict"])
def test_an_error_comes_after_what_was_found_before(
    tmp_path: Path, stage: str, workers: int
) -> None:
    """The same error as of one thread, and the five images before it are written."""
    write_images(tmp_path / "in")
    with pytest.raises(RuntimeError, match="sixth"):
        label_all(tmp_path / "in", tmp_path / "out", Failing(stage, RuntimeError("sixth")), workers)
    names = {path.name for path in (tmp_path / "out" / "labels").iterdir()}
    assert names == {f"{number:02d}.txt" for number in range(5)}


@pytest.mark.parametrize("workers", [0, MANY])
def test_a_full_disk_is_named_by_its_first_image(
    tmp_path: Path, workers: int, largest_file
) -> None:
    """Smaller images before and after it change nothing."""
    (tmp_path / "in").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    for number in range(12):
        side = 200 if number >= 6 else 8
        Image.fromarray(noise[:side, :side]).save(tmp_path / "in" / f"{number:02d}.jpg")
    with largest_file(20_000), pytest.raises(OSError, match=r"File too large: '.*06\.jpg'"):
        label_all(tmp_path / "in", tmp_path / "out", Brightness(), workers)
    written = {path.name for path in (tmp_path / "out" / "images_annotated").iterdir()}
    assert written == {f"{number:02d}.jpg" for number in range(6)}


@pytest.fixture
def heeded_interrupt():
    """A shell starts what runs in its background with an interrupt that is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded_interrupt")
@pytest.mark.parametrize("workers", [0, MANY])
def test_a_signal_ends_the_run_and_leaves_whole_files(tmp_path: Path, workers: int) -> None:
    """It comes while a thread works and the main one waits; there are no drafts and no parts."""

    class Signalling(Failing):
        def _count(self, stage: str) -> None:
            try:
                super()._count(stage)
            except RuntimeError:
                os.kill(os.getpid(), signal.SIGINT)

    write_images(tmp_path / "in")
    with pytest.raises(KeyboardInterrupt):
        label_all(
            tmp_path / "in",
            tmp_path / "out",
            Signalling("prepare", RuntimeError()),
            workers,
            csv=True,
        )
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert [path.name for path in files if path.name.startswith(".")] == []
    for path in (tmp_path / "out").glob("images_annotated/*"):
        read_image(path)


def test_evaluation_reads_ahead_and_scores_the_same(tmp_path: Path, monkeypatch) -> None:
    """Detections are the same for any number of threads, and as few batches wait."""
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))
    made = make_dataset(tmp_path / "set", num_images={"val": 12}, image_size_hw=(48, 64), seed=1)
    source = DataSource(
        image_dir=str(tmp_path / "set" / "images" / "val"), json_file=str(made.json_files["val"])
    )
    for workers in (0, MANY):
        detector = Brightness(2)
        detector.categories, detector.num_classes = (), 6
        dataset = DatasetConfig(test_data_sources=source, workers=workers)
        evaluate(detector, dataset, EvaluateConfig(), tmp_path / str(workers))
        assert detector.most_waiting <= 2 + -(-min(MANY, available_cores()) // 2)
    assert contents(tmp_path / "0") == contents(tmp_path / str(MANY))


def test_a_detector_without_prepare_sees_plain_images(tmp_path: Path) -> None:
    """Such as a class of one's own that does not inherit."""

    class Plain:
        batch_size, categories, num_classes = 2, (Category(1, "bag"),), 2
        preprocess_config, description, notices = None, "", ()

        def predict(self, images: Sequence[Any]) -> list[Detections]:
            assert all(isinstance(each, Image.Image) for each in images)
            return [Detections.empty() for _ in images]

    write_images(tmp_path / "in", 5)
    assert label_all(tmp_path / "in", tmp_path / "out", Plain(), MANY).images == 5


@pytest.mark.skipif(available_cores() < 2, reason="the second thread lets the first one go on")
def test_results_come_in_order_though_the_first_is_the_last_to_be_done() -> None:
    """The first item waits for the second."""
    is_done = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert is_done.wait(30)
        is_done.set()
        return number

    with WorkAhead(2) as threads:
        assert list(threads.map(work, range(20), 4)) == list(range(20))


@pytest.mark.parametrize("workers", [1, MANY])
def test_nothing_is_taken_for_which_there_is_no_room(workers: int) -> None:
    """An endless source is taken from as results are asked for."""
    taken = []

    def source():
        while True:
            taken.append(len(taken))
            yield taken[-1]

    with WorkAhead(workers) as threads:
        for number, result in enumerate(threads.map(lambda each: each, source(), 3)):
            assert result == number
            assert len(taken) <= number + 1 + 3
            if number == 50:
                break


@pytest.mark.parametrize("workers", [0, 1, MANY])
def test_an_error_of_the_source_comes_in_its_turn(workers: int) -> None:
    """All items before it have their results."""

    def source():
        yield from range(5)
        raise RuntimeError("no more")

    given = []
    with WorkAhead(workers) as threads, pytest.raises(RuntimeError, match="no more"):
        given.extend(threads.map(lambda each: each, source(), 9))
    assert given == ([0, 1, 2, 3, 4] if workers else given)
