"""Objects without an upright box of their own, and boxes that stand on an image twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddetr_data import CocoScorer
from ddetr_data.boxes import find_repeats, upright_boxes
from ddetr_data.check import check_dataset
from ddetr_data.coco import load_sources
from ddetr_data.config import DataSource
from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import convert
from ddetr_data.formats import read_voc_rows
from ddetr_data.images import ImageHeader
from ddetr_data.types import Detections

Content = dict[str, Any]
Write = Callable[..., DataSource]
# A rectangle of 10 x 8 pixels at (5, 4) in an image of 40 x 30.
RUNS = [5 * 30 + 4, *[8, 22] * 9, 8, 25 * 30 + 18]
BOX = [5.0, 4.0, 10.0, 8.0]
POLYGON = [[5, 4, 15, 4, 15, 12, 5, 12]]


@pytest.fixture
def read(content: Content, write_source: Write) -> Callable[..., tuple[list[Any], dict[str, int]]]:
    """The boxes of the first image, of which one object has other fields, and the faults."""

    def run(**fields: object) -> tuple[list[Any], dict[str, int]]:
        content["annotations"][0].update(fields)
        source = write_source(content)
        labelled = load_sources([source], num_classes=None)
        counts = check_dataset({"train": [source]}).counts
        assert {name: counts.get(name, 0) for name in labelled.faults} == labelled.faults
        return labelled.images[0].boxes_xywh.tolist(), dict(labelled.faults)

    return run


@pytest.mark.parametrize("bbox", [None, [], [0, 0, 0.0, 0]])
@pytest.mark.parametrize("is_crowd", [0, 1])
@pytest.mark.parametrize(
    "segmentation",
    [{"size": [30, 40], "counts": RUNS}, POLYGON, [*POLYGON, [6, 5, 7, 5, 7, 6]]],
)
def test_the_box_around_a_mask_is_taken(
    read: Callable[..., Any], bbox: object, is_crowd: int, segmentation: object
) -> None:
    """Where there is none, of a crowd too, and counted."""
    boxes, faults = read(bbox=bbox, segmentation=segmentation, iscrowd=is_crowd)
    assert boxes[0] == BOX
    assert faults == {"outlined_box": 1}


def test_packed_masks_are_read(read: Callable[..., Any]) -> None:
    """As pycocotools writes them."""
    mask = pytest.importorskip("pycocotools.mask")
    pixels = np.zeros((30, 40), np.uint8, order="F")
    pixels[4:12, 5:15] = 1
    packed = mask.encode(pixels)["counts"].decode()
    boxes, faults = read(bbox=None, segmentation={"size": [30, 40], "counts": packed})
    assert (boxes[0], faults) == (BOX, {"outlined_box": 1})


def test_no_outline_is_a_missing_box(read: Callable[..., Any]) -> None:
    """An empty mask, or one of more pixels than its image."""
    for counts in ([1200], [0, 1201], "?"):
        boxes, faults = read(bbox=None, segmentation={"size": [30, 40], "counts": counts})
        assert len(boxes) == 1
        assert faults == {"missing_box": 1}
    for bbox, fault in (([0, 0, 0, 0], "zero_box"), ([], "missing_box")):
        boxes, faults = read(bbox=bbox, segmentation=[])
        assert len(boxes) == 1
        assert faults == {fault: 1}


@pytest.mark.parametrize(
    ("degrees", "box"),
    [
        (90, [6, 3, 8, 10]),
        (-90.0, [6, 3, 8, 10]),
        ("270", [6, 3, 8, 10]),
        (180, None),
        (0, None),
        (None, None),
        ("a lot", None),
    ],
)
def test_a_rotated_box_of_cvat_is_made_upright(
    read: Callable[..., Any], degrees: object, box: list[float] | None
) -> None:
    """The box around it is taken and counted; half turns and what is no number change nothing."""
    boxes, faults = read(attributes={"occluded": False, "rotation": degrees})
    assert boxes[0] == pytest.approx(box or BOX)
    assert faults == ({"rotated_box": 1} if box else {})


def test_a_polygon_has_its_turn_in_it(read: Callable[..., Any]) -> None:
    """Its box is not turned once more."""
    boxes, faults = read(attributes={"rotation": 30}, segmentation=POLYGON)
    assert (boxes[0], faults) == (BOX, {})


def test_the_upright_box_holds_the_corners() -> None:
    """Of boxes of any proportions and angle, around the same centre."""
    rng = np.random.default_rng(0)
    boxes, degrees = rng.uniform(1, 50, (50, 4)), rng.uniform(-400, 400, 50)
    found = upright_boxes(boxes, degrees)
    for box, angle, upright in zip(boxes, np.radians(degrees), found, strict=True):
        centre, half = box[:2] + box[2:] / 2, box[2:] / 2
        signs = np.array([(1, 1), (1, -1), (-1, 1), (-1, -1)])
        turn = np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
        corners = centre + (signs * half) @ turn.T
        assert upright[:2] == pytest.approx(corners.min(axis=0))
        assert upright[:2] + upright[2:] == pytest.approx(corners.max(axis=0))


def test_rotated_boxes_of_voc_are_counted(tmp_path: Path) -> None:
    """CVAT writes the turn as an attribute of the object."""
    Image.new("RGB", (40, 30)).save(tmp_path / "1.png")
    text = (
        "<annotation><object><name>cat</name><bndbox><xmin>6</xmin><ymin>5</ymin><xmax>15</xmax>"
        "<ymax>12</ymax></bndbox><attributes><attribute><name>rotation</name><value>90.0</value>"
        "</attribute></attributes></object></annotation>"
    )
    (tmp_path / "1.xml").write_text(text)
    *_, row = read_voc_rows(tmp_path / "1.xml", ImageHeader((40, 30), 1))
    assert row.box_xyxy == pytest.approx((6, 3, 14, 13))
    config = ConvertConfig(
        format="voc_to_coco", input_source=tmp_path, results_dir=tmp_path / "out", workers=1
    )
    summary = convert(config)
    assert summary.annotations == 1
    assert summary.repaired == {"rotated_box": {"cat": 1}}


def test_repeated_rows_are_found() -> None:
    """All but the first of equal rows; 0 and -0 are equal, NaN is not."""
    numbers = np.array([0.0, 1, -0.0, 1, np.nan, np.nan, 2])
    assert find_repeats(numbers, numbers * 0 + 1).tolist() == [
        False, False, True, True, False, False, False,
    ]  # fmt: skip
    assert find_repeats(np.zeros(0), np.zeros(0)).tolist() == []


@pytest.mark.parametrize("count", [1, 2, 64, 65, 200])
def test_few_and_many_rows_are_compared_alike(count: int) -> None:
    """A row is a repeat only where all columns are, however many rows there are."""
    labels, widths = np.arange(count) // 2, np.arange(count) % 2 + 0.5
    assert not find_repeats(labels, widths).any()
    assert not find_repeats(labels, np.full(count, np.nan)).any()
    assert find_repeats(labels).tolist() == [index % 2 == 1 for index in range(count)]


def test_a_box_under_two_ids_is_counted_and_scored_twice(
    content: Content, write_source: Write
) -> None:
    """Of one class on one image; crowds and other classes are none. Scoring stays COCO's."""
    # fault 25
    first = content["annotations"][0]
    content["annotations"] += [
        {**first, "id": 70},
        {**first, "id": 71, "category_id": 2},
        {**first, "id": 72, "image_id": 2, "bbox": [5.0, 4.0, 10.0, 8.5]},
        {**first, "id": 73, "iscrowd": 1},
    ]
    source = write_source(content)
    labelled = load_sources([source], num_classes=None)
    assert dict(labelled.faults) == {"repeated_box": 1}
    assert labelled.faults.sentences()[0].endswith(
        f"1 kept (first: {source.json_file[0]}, annotation 70, image 1)"
    )
    assert len(labelled.images[0].labels) == 5
    report = check_dataset({"train": [source]})
    assert (report.counts["repeated_box"], report.exit_status) == (1, 1)
    scorer = CocoScorer(labelled)
    boxes = np.array([[5, 4, 15, 12]], np.float32)
    scorer.add(1, Detections(boxes, np.ones(1, np.float32), np.array([1])))
    one = scorer.score().overall["AR1"]
    scorer.add(1, Detections(np.repeat(boxes, 2, 0), np.ones(2, np.float32), np.array([1, 1])))
    assert scorer.score().overall["AR10"] > one


def test_a_line_that_stands_twice_is_counted_by_convert(tmp_path: Path, caplog) -> None:
    """Both are written, also where two source classes become one."""
    # fault 25
    Image.new("RGB", (64, 48)).save(tmp_path / "1.png")
    line = "person 0 0 0 4 5 20 30 0 0 0 0 0 0 0\n"
    other = line.replace("30", "31")
    (tmp_path / "1.txt").write_text(line + other + line + other.replace("person", "Rider"))
    summary = convert(ConvertConfig(input_source=tmp_path, results_dir=tmp_path / "out", workers=1))
    assert summary.annotations == 4
    assert summary.accepted == {"repeated_box": {"Rider": 1, "person": 1}}
    assert f"2 (first: {tmp_path / '1.txt'}:3)" in caplog.text
