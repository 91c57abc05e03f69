"""The reports in a real browser: nothing fetched, no complaint, and readable on a phone."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddetr_cli.report import write_evaluation_report, write_training_report
from ddetr_cli.terminal import StatusFile
from ddetr_data import Detections, ImageRecord
from ddetr_data.coco import DetectionSet
from ddetr_data.detection import RunEvent, write_results
from ddetr_data.faults import FaultLog
from ddetr_data.scoring import CocoScorer
from ddetr_data.types import Annotations, Category

pytest.importorskip("websocket", reason="websocket-client is not installed")

ROOT = Path(__file__).resolve().parent.parent
DRIVER = ROOT / "packages" / "ddetr-export" / "tests" / "chromium.py"
LONG = "a_very_long_name_of_a_class_" * 6
NAMES = ("red cell", "<script>alert(1)</script>", LONG)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The driver that the page of `serve` has too."""
    spec = importlib.util.spec_from_file_location("chromium", DRIVER)
    assert spec is not None
    assert spec.loader is not None
    chromium = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(chromium)
    program = chromium.find_chromium()
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    opened = chromium.Browser(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def written(folder: Path, *, images: int, side: int) -> DetectionSet:
    """Write an evaluation that misses and invents in every image of noise."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(3)
    categories = tuple(Category(number, name) for number, name in enumerate(NAMES, start=1))
    records = []
    for number in range(1, images + 1):
        path = folder / f"<img src=x onerror=alert(1)> {number} {'x' * 90}.bmp"
        Image.fromarray(random.integers(0, 255, (side, side, 3), np.uint8)).save(path)
        boxes = np.array([[2.0, 2, 20, 20], [30, 30, 20, 20], [40, 5, 15, 15]])
        objects = Annotations(boxes, np.array([1, 2, 3]), np.zeros(3, bool), np.full(3, 400.0))
        records.append(ImageRecord(number, path, path.name, side, side, objects))
    labels = DetectionSet(records, categories, FaultLog())
    scorer = CocoScorer(labels)
    boxes = np.array([[2, 2, 22, 22], [0, 40, 20, 60]], np.float32)
    for number in range(1, images + 1):
        scores = np.array([0.9, 0.95 if number == 1 else 0.8], np.float32)
        scorer.add(number, Detections(boxes, scores, np.array([1, 2])))
    facts = {"thresholds": {name: each.to_dict() for name, each in scorer.thresholds().items()}}
    write_results(folder, scorer.score(), scorer.results(), facts)
    line = f"cd /somewhere && ddetr evaluate -e spec.yaml {'evaluate.checkpoint=' + 'y' * 200}"
    StatusFile(folder).write("STARTED", "evaluate starts", command=line)
    return labels


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of fourteen images, all wrong."""
    folder = tmp_path_factory.mktemp("evaluate")
    return write_evaluation_report(folder, written(folder, images=14, side=380))


def test_a_report_is_readable_everywhere(browser: Any, page: Path) -> None:
    """On a desk and at 390 pixels; names from outside act on nothing."""
    for width, is_phone in ((1280, False), (390, True)):
        browser.reset()
        browser.resize(width, is_phone=is_phone)
        browser.open(page.as_uri())
        assert browser.overflow() == []
        assert browser.complaints == []
        assert browser.requests == [page.as_uri()]
        shown = "[...document.querySelectorAll('img')].filter(e => e.naturalWidth > 0).length"
        assert browser.evaluate(shown) == 24
    assert browser.evaluate("document.querySelector('pre').innerText").startswith("'inference.")
    pairs = "[...document.querySelectorAll('.pair')].every(e => e.children.length === 2)"
    assert browser.evaluate(pairs)


def test_the_override_is_copied_as_one_line(browser: Any, page: Path) -> None:
    """One tap marks all of it, and what is marked has no line breaks of the page's width."""
    browser.reset()
    browser.resize(390, is_phone=True)
    browser.open(page.as_uri())
    marked = browser.evaluate(
        "(() => { const pre = document.querySelector('pre');"
        "getSelection().selectAllChildren(pre); return getSelection().toString() })()"
    )
    assert marked.startswith("'inference.conf_threshold={default: 0.5, ")
    assert marked.rstrip().endswith("}'")
    assert "\n" not in marked.strip()
    style = "getComputedStyle(document.querySelector('pre')).userSelect"
    assert browser.evaluate(style) == "all"


def test_a_report_stays_small(page: Path) -> None:
    """Twelve images at most, of 360 pixels: below 4 MB for noise, which compresses worst."""
    assert page.read_text("utf-8").count("<figure>") == 12
    assert page.stat().st_size < 4e6


def test_a_training_report_fits_a_phone(browser: Any, tmp_path: Path) -> None:
    """Warnings of any length, curves and epochs."""
    status = StatusFile(tmp_path)
    status.write("STARTED", "train starts", command="ddetr train -e spec.yaml")
    for epoch in range(20):
        metrics = dict.fromkeys(("train_loss", "val_loss", "val_AP", "val_AP50"), 0.5)
        status.observe(RunEvent("epoch", epoch=epoch, metrics=metrics))
    status.observe(RunEvent("notice", f"set model.x={LONG}", is_warning=True))
    page = write_training_report(tmp_path)
    assert "<pre>ddetr train -e spec.yaml</pre>" in page.read_text("utf-8")
    browser.reset()
    browser.resize(390, is_phone=True)
    browser.open(page.as_uri())
    assert browser.overflow() == []
    assert (browser.complaints, browser.requests) == ([], [page.as_uri()])
