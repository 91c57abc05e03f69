"""What the columns of a YOLO line mean, and that a doubtful line becomes no wrong box."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from ddetr_data.check import check_conversion
from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import convert
from ddetr_data.faults import DataError
from ddetr_data.formats import YoloReader, read_kpt_shape
from ddetr_data.images import ImageHeader

# fault 24
HEADER = ImageHeader((100, 100), orientation=1)
BOX = (40.0, 30.0, 60.0, 70.0)  # of the columns .5 .5 .2 .4
TRIANGLE = "0 .1 .2 .5 .2 .3 .65"
POINTS_3 = " .45 .4 2 .55 .6 1 0 0 0"  # three keypoints, each with its visibility
POINTS_2 = " .45 .4 .55 .6 .5 .5"  # three keypoints without


@pytest.mark.parametrize(
    ("line", "kpt_shape", "expected"),
    [
        ("0 .5 .5 .2 .4", None, BOX),
        ("0 .5 .5 .2 .4 .9", None, BOX),  # a score
        ("0 .5 .5 .2 .4 17", None, BOX),  # a track
        ("0 .5 .5 .2 .4 .9 17", None, BOX),  # both
        ("0 .5 .5 .2 .4 .9 -1", None, BOX),
        ("0 .5 .5 .2 .4 .9 1", None, "ambiguous_line"),  # or a triangle that ends at the border
        ("0 .5 .5 .2 .4 .9 0", None, "ambiguous_line"),
        ("0 .5 .5 .2 .4 .9 1.0", (), (20.0, 40.0, 90.0, 100.0)),  # no track has decimals
        (TRIANGLE, None, (10.0, 20.0, 50.0, 65.0)),
        ("0 .1 .1 .3 .1 .4 .3 .2 .4 .1 .3", None, (10.0, 10.0, 40.0, 40.0)),
        ("0 .5 .5 .2 .4" + POINTS_2, None, "ambiguous_line"),  # five corners, or keypoints
        ("0 .5 .5 .2 .4" + POINTS_2, (3, 2), BOX),
        ("0 .5 .5 .2 .4" + POINTS_2 + " .9", (3, 2), BOX),
        ("0 .5 .5 .2 .4" + POINTS_2 + " .9 4", (3, 2), BOX),
        ("0 .5 .5 .2 .4" + POINTS_2, (), (20.0, 40.0, 55.0, 60.0)),  # said to be no keypoints
        ("0 .5 .5 .2 .4" + POINTS_3, None, "ambiguous_line"),  # an even number of columns
        ("0 .5 .5 .2 .4" + POINTS_3, (3, 3), BOX),
        ("0 .5 .5 .2 .4", (3, 3), BOX),
        ("0 .5 .5 .2 .4 .9 17", (3, 3), BOX),
        ("0 .5 .5 .2 .4 .45 .4 2 .55 .6 2", None, "ambiguous_line"),  # 11 columns
        ("0 .5 .5 .2 .4 .45 .4 2 .55 .6 2", (2, 3), BOX),
        ("0 .5 .5 .2 .4 .45 .4 2 .55 .6 2", (17, 3), "malformed_line"),
        (TRIANGLE, (17, 3), "malformed_line"),
        ("0 .5 .5 .2", None, "malformed_line"),
        ("0 .5 .5 .2 .4 .1 .2 .3", None, "malformed_line"),  # 8 columns that are no keypoint
        ("0 .5 .5 .2 .4 .9 x", None, "malformed_line"),
        ("9 .5 .5 .2 .4 .9 17", None, "unknown_class_number"),
    ],
)
def test_a_line_is_a_box_or_a_fault(
    tmp_path: Path,
    line: str,
    kpt_shape: tuple[int, ...] | None,
    expected: tuple[float, ...] | str,
) -> None:
    """By the number of its columns, by what they can be, and by kpt_shape."""
    path = tmp_path / "a.txt"
    path.write_text(f"{line}\n")
    (row,) = YoloReader(("cat",), kpt_shape)(path, HEADER)
    if isinstance(expected, str):
        assert (row.fault, row.where) == (expected, f"{path}:1")
    else:
        assert row.fault == ""
        assert row.box_xyxy == pytest.approx(expected)


def make_set(folder: Path, lines: list[str], data: str | None = None) -> ConvertConfig:
    """One image and label file a line, and a data.yaml or a text with the class."""
    for number, line in enumerate(lines):
        for kind in ("images", "labels"):
            (folder / kind).mkdir(exist_ok=True)
        Image.new("RGB", (100, 100)).save(folder / f"images/{number:03d}.png")
        (folder / f"labels/{number:03d}.txt").write_text(f"{line}\n")
    classmap = folder / ("classes.txt" if data is None else "data.yaml")
    classmap.write_text("cat\n" if data is None else f"names: [cat]\n{data}\n")
    return ConvertConfig(
        format="yolo_to_coco",
        input_source=folder,
        image_dir_name="images",
        label_dir_name="labels",
        classmap=classmap,
        results_dir=folder / "out",
        num_shards=1,
    )


def boxes_of(config: ConvertConfig) -> list[list[float]]:
    """Convert, and give the boxes that were written."""
    ((path,),) = [fold.json_files for fold in convert(config).folds]
    return [row["bbox"] for row in json.loads(path.read_text())["annotations"]]


def test_keypoints_are_read_where_data_yaml_has_their_shape(tmp_path: Path) -> None:
    """The conversion takes kpt_shape from the classmap; without it the lines are counted."""
    line = "0 .5 .5 .2 .4" + POINTS_3
    config = make_set(tmp_path, [line], "kpt_shape: [3, 3]")
    assert boxes_of(config) == [[40.0, 30.0, 20.0, 40.0]]
    config = make_set(tmp_path, [line], "")
    with pytest.raises(DataError, match="1 x ambiguous_line cat"):
        convert(config)
    assert check_conversion(config).counts["ambiguous_line"] == 1


@pytest.mark.parametrize("shape", ["[0, 3]", "[17]", "[17, 4]", "17", "[true, 3]"])
def test_an_odd_shape_of_keypoints_is_refused(tmp_path: Path, shape: str) -> None:
    """The sentence says what it must be."""
    config = make_set(tmp_path, ["0 .5 .5 .2 .4"], f"kpt_shape: {shape}")
    with pytest.raises(DataError, match=r"kpt_shape must be \[keypoints, 2 or 3 numbers"):
        convert(config)


def test_no_keypoints_can_be_said(tmp_path: Path) -> None:
    """Null is another thing than nothing."""
    config = make_set(tmp_path, ["0 .5 .5 .2 .4"], "kpt_shape: null")
    assert config.classmap is not None
    assert read_kpt_shape(config.classmap) == ()
    assert read_kpt_shape(tmp_path / "classes.txt") is None


def test_a_set_of_polygons_settles_its_doubtful_lines(tmp_path: Path) -> None:
    """Corners whose box happens to hold them all are corners where most others can be no else."""
    certain = [f"0 .1 .1 .3 .1 .4 .3 .2 .4 .1 .{n}" for n in range(3, 9)]
    doubtful = [f"0 .5 .5 .2 .4 .45 .4 .55 .6 .5 .5{n}" for n in range(6)]
    assert len(boxes_of(make_set(tmp_path, certain + doubtful))) == 12
    with pytest.raises(DataError, match="12 x ambiguous_line cat"):
        convert(make_set(tmp_path, doubtful * 2))


def test_a_set_of_tracks_settles_its_first_track(tmp_path: Path) -> None:
    """Track 1 alone may be a triangle; beside tracks 2 to 12 it is none."""
    lines = [f"0 .5 .5 .2 .4 .9 {number}" for number in range(1, 13)]
    assert boxes_of(make_set(tmp_path, lines)) == [[40.0, 30.0, 20.0, 40.0]] * 12
