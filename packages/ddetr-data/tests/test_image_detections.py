"""Detections as a person meets them: in a line, in a loop, in a notebook, in COCO's format."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ddetr_data import Category, DataError, Detections
from ddetr_data.detection import ImageDetections, detect_in

PEOPLE = (Category(1, "person"), Category(3, "<b>\x1b[31m"))


def found(count: int = 3, **more: object) -> ImageDetections:
    """So many detections, of one size, with scores from 0.9 down and labels 1, 2, 3, 1, ..."""
    boxes = np.array([[10, 20, 30, 50]] * count, np.float32).reshape(-1, 4)
    scores = np.linspace(0.9, 0.1, count, dtype=np.float32)
    return ImageDetections(boxes, scores, np.arange(count) % 3 + 1, PEOPLE, **more)


def test_a_line_says_how_many_and_which_are_best() -> None:
    """Names as they may be shown, boxes as left, top, width and height; five are listed."""
    assert repr(found(0)) == "no detections"
    assert repr(found(1)) == "1 detection: person 0.90 [10, 20, 20, 30]"
    assert repr(found(2)).endswith("class_2 0.10 [10, 20, 20, 30]")
    assert repr(found(8)).startswith("8 detections: person 0.90 [10, 20, 20, 30], class_2 ")
    assert repr(found(8)).endswith(", and 3 more")
    assert "\x1b" not in repr(found(3))


def test_detections_are_counted_walked_and_picked() -> None:
    """An index gives one of them; a mask, indices and a slice some, with their image and names."""
    some = found(4, image="a.png")
    assert [each.name for each in some] == ["person", "class_2", PEOPLE[1].name, "person"]
    first = some[0]
    assert (first.box_xyxy, first.label) == ((10.0, 20.0, 30.0, 50.0), 1)
    assert first.score == pytest.approx(0.9)
    assert some[-1].score == pytest.approx(0.1)
    with pytest.raises(IndexError):
        some[4]
    for rows in (some.labels == 1, np.array([0, 3]), slice(None, None, 3)):
        kept = some[rows]
        assert (len(kept), kept.image, kept.categories) == (2, "a.png", PEOPLE)
        assert kept.labels.tolist() == [1, 1]
    assert isinstance(some.above(0.5).of_classes([1]), ImageDetections)


def test_plain_detections_have_no_names() -> None:
    """What a detector gives by itself is told and walked as well."""
    plain = Detections(np.array([[0, 0, 4, 6]], np.float32), np.array([0.5]), np.array([7]))
    assert repr(plain) == "1 detection: class_7 0.50 [0, 0, 4, 6]"
    assert [each.label for each in plain] == [7]
    assert repr(Detections.empty()) == "no detections"


def test_rows_of_coco_have_the_images_id() -> None:
    """Boxes are left, top, width and height."""
    (row,) = found(1).to_coco(42)
    assert row == {
        "image_id": 42,
        "category_id": 1,
        "bbox": [10.0, 20.0, 20.0, 30.0],
        "score": pytest.approx(0.9),
    }


def test_the_image_is_drawn_as_it_was_given(tmp_path: Path) -> None:
    """A path is read again, another image takes its place, and none is a sentence."""
    Image.new("RGB", (64, 64), "white").save(tmp_path / "a.png")
    drawn = found(1, image=tmp_path / "a.png").draw(color_map={"person": "red"}, outline_width=1)
    assert drawn.size == (64, 64)
    assert drawn.getpixel((10, 45)) == (255, 0, 0)
    other = found(1).draw(np.zeros((80, 90, 3), np.uint8))
    assert other.size == (90, 80)
    with pytest.raises(DataError, match=r"no image, give one: draw\(image\)"):
        found(1).draw()


def test_a_notebook_shows_the_image_and_the_words(tmp_path: Path) -> None:
    """At most 1000 pixels wide; names are text; a lost image leaves the words."""
    image = Image.new("RGB", (2000, 100))
    shown = found(3, image=image)
    page = shown._repr_html_()
    assert 'src="data:image/jpeg;base64,' in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    png = shown._repr_png_()
    assert png is not None
    assert Image.open(io.BytesIO(png)).size == (1000, 50)
    lost = found(1, image=tmp_path / "lost.png")
    assert lost._repr_png_() is None
    assert lost._repr_html_() == "<div>1 detection: person 0.90 [10, 20, 20, 30]</div>"


def test_a_detector_is_run_for_a_person() -> None:
    """Each image has its own, above the threshold, with the detector's names."""
    image = np.zeros((8, 8, 3), np.uint8)
    detector = SimpleNamespace(
        batch_size=1,
        categories=PEOPLE,
        preprocess_config=None,
        predict=lambda images: [found(4) for _ in images],
    )
    first, second = detect_in(detector, [image, image], 0.3)
    assert (len(first), len(second)) == (3, 3)
    assert first.image is image
    assert first[0].name == "person"
