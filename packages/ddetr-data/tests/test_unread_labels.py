"""A label file of which nothing can be read tells no more of its image than one that is missing."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ddetr_data.check import CheckOptions, check_conversion
from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import ConvertSummary, convert
from ddetr_data.faults import DataError
from ddetr_data.formats import LabelFormat, LabelRow, faulty_row

SIZE_WH = (64, 48)
GOOD = {
    "kitti_to_coco": "person 0 0 0 4 5 20 30 0 0 0 0 0 0 0\n",
    "yolo_to_coco": "0 0.5 0.5 0.25 0.25\n",
    "voc_to_coco": "<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
    "<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>",
}
UNREADABLE = [
    ("kitti_to_coco", "person 0 0 0 4 5\nrider;0;0\n"),
    ("kitti_to_coco", "# made by a tool\n\n"),
    ("kitti_to_coco", "person\0 0"),
    ("yolo_to_coco", "0 0.5\n0,0.5,0.5,0.2,0.2\n"),
    ("yolo_to_coco", "{}\n"),
    ("voc_to_coco", "<annotation><object><name>cat</na"),
    ("voc_to_coco", "<annotations/>"),
    ("voc_to_coco", "<annotation><object><name>cat</name></object></annotation>"),
    ("voc_to_coco", ""),
    ("voc_to_coco", "{}"),
]
Make = Callable[..., ConvertConfig]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Two images, the first with a good label; gives the conversion of them."""

    def made(kind: str, second: str | None, **options: object) -> ConvertConfig:
        ending = "xml" if kind == "voc_to_coco" else "txt"
        for number, text in enumerate((GOOD[kind], second), start=1):
            Image.new("RGB", SIZE_WH).save(tmp_path / f"{number}.jpg")
            if text is not None:
                (tmp_path / f"{number}.{ending}").write_text(text)
        (tmp_path / "names.list").write_text("cat\n")
        classmap = {"classmap": tmp_path / "names.list"} if kind == "yolo_to_coco" else {}
        folders = {"input_source": tmp_path, "results_dir": tmp_path / "out", "workers": 1}
        return ConvertConfig(format=kind, **folders | classmap | {"max_dropped": 1} | options)

    return made


def names_of(summary: ConvertSummary) -> list[str]:
    paths = [path for fold in summary.folds for path in fold.json_files]
    return [row["file_name"] for path in paths for row in json.loads(path.read_text())["images"]]


@pytest.mark.parametrize(("kind", "text"), UNREADABLE)
def test_it_is_treated_as_a_missing_one(
    kind: str, text: str, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """missing_labels decides, the file is counted, and its name told."""
    # fault 27
    config = make(kind, text)
    ending = "xml" if kind == "voc_to_coco" else "txt"
    with caplog.at_level(logging.WARNING):
        summary = convert(config)
    assert names_of(summary) == ["1.jpg"]
    assert summary.dropped["malformed_label_file"] == {"": 1}
    assert f"their images are left out (first: {tmp_path / f'2.{ending}'})" in caplog.text
    report = check_conversion(config, CheckOptions(max_dropped=1))
    assert report.counts["malformed_label_file"] == 1
    (tmp_path / "out").rename(tmp_path / "before")
    empty = convert(config.model_copy(update={"missing_labels": "empty"}))
    assert names_of(empty) == ["1.jpg", "2.jpg"]
    assert empty.repaired["malformed_label_file"] == {"": 1}
    with pytest.raises(DataError, match=rf"2\.{ending} cannot be read"):
        convert(config.model_copy(update={"missing_labels": "error"}))


@pytest.mark.parametrize("kind", sorted(GOOD))
@pytest.mark.parametrize("make_other", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_treated_as_a_missing_one(
    make_other: Callable[[Path], None], kind: str, make: Make, tmp_path: Path
) -> None:
    """In every format alike."""
    # fault 27
    config = make(kind, None)
    make_other(tmp_path / ("2.xml" if kind == "voc_to_coco" else "2.txt"))
    summary = convert(config)
    assert names_of(summary) == ["1.jpg"]
    assert summary.dropped["malformed_label_file"] == {"": 1}


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_check_follows_missing_labels(kind: str, make: Make, tmp_path: Path) -> None:
    """With empty all images may be background, with skip none would be left."""
    # fault 26
    config = make(kind, None)
    (tmp_path / f"1.{'xml' if kind == 'voc_to_coco' else 'txt'}").unlink()
    assert check_conversion(config).counts["most_dropped"] == 1
    empty = config.model_copy(update={"missing_labels": "empty"})
    assert "most_dropped" not in check_conversion(empty).counts
    assert convert(empty).images == 2


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_missing_ones_are_told_by_name(
    kind: str, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The first of them, by a warning."""
    # fault 27
    assert names_of(convert(make(kind, None))) == ["1.jpg"]
    assert "an image without label file" in caplog.text
    assert "(first: " in caplog.text


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("kitti_to_coco", ""),
        ("yolo_to_coco", "\n \n"),
        ("voc_to_coco", "<annotation/>"),
        ("kitti_to_coco", "DontCare" + " 1" * 14),
        ("kitti_to_coco", f"rubbish\n{GOOD['kitti_to_coco']}"),
        ("yolo_to_coco", "7 0.5 0.5 0.25 0.25\n"),
    ],
)
def test_one_that_can_be_read_is_believed(kind: str, text: str, make: Make) -> None:
    """An empty one is background; one readable line makes it a label file."""
    # fault 27
    assert names_of(convert(make(kind, text))) == ["1.jpg", "2.jpg"]


def test_formats_from_outside_follow_the_rule(make: Make) -> None:
    """Rows that are all faulty are no labels."""
    # fault 27

    def read_rows(label, _header):
        if label.stem == "1":
            yield LabelRow(f"{label}:1", "cat", (1, 2, 30, 40))
        else:
            yield faulty_row(f"{label}:1", "malformed_line")

    summary = convert(make("kitti_to_coco", ""), own_format=LabelFormat(".txt", read_rows))
    assert names_of(summary) == ["1.jpg"]


def test_many_lines_that_cannot_be_read_stop_a_conversion(make: Make, tmp_path: Path) -> None:
    """They are objects that are lost; so is everything when no label file is left."""
    # fault 26, fault 27
    config = make("kitti_to_coco", "person 0 0\nperson 0 0\n", max_dropped=0.5)
    with pytest.raises(DataError, match=r"2 of 3 objects are dropped, more than max_dropped 0\.5"):
        convert(config)
    assert check_conversion(config).counts["most_dropped"] == 1
    for name in ("1.txt", "2.txt"):
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match=r"no image is left: 2 x missing_label_file;.* nothing is"):
        convert(config)
    report = check_conversion(config)
    assert (report.counts["most_dropped"], report.exit_status) == (1, 2)
    assert not (tmp_path / "out").exists()
    background = config.model_copy(update={"missing_labels": "empty"})
    assert convert(background).images == 2


def test_classes_that_a_mapping_leaves_out_do_not_count(make: Make, tmp_path: Path) -> None:
    """However many they are, as long as one object is left."""
    # fault 26
    text = GOOD["kitti_to_coco"].replace("person", "Car") * 5
    config = make("kitti_to_coco", text, max_dropped=0)
    assert convert(config).annotations == 1
    (tmp_path / "1.txt").write_text(text)
    with pytest.raises(DataError, match="no object is left: 10 x unmapped_class Car"):
        convert(config)


def test_a_list_of_classes_beside_the_labels_agrees(make: Make, tmp_path: Path) -> None:
    """Numbers that it gives other names are refused: the wrong classes would be trained."""
    # fault 21
    config = make("yolo_to_coco", "")
    (tmp_path / "names.list").write_text("cat\ndog\n")
    for text in ("cat\ndog\nbus\n", "Cat\n", "", "cat\n\ncat\n"):
        (tmp_path / "classes.txt").write_text(text)
        assert convert(config).images == 2
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    with pytest.raises(DataError, match=r"id 0 is 'cat' in classmap .* and 'dog' in .*classes.txt"):
        convert(config)
