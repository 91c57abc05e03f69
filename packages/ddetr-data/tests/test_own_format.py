"""A label format of one's own is converted under the same rules as the known ones."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import convert
from ddetr_data.faults import DataError
from ddetr_data.formats import LabelFormat, LabelRow, faulty_row
from ddetr_data.images import ImageHeader


def read_csv_rows(label: Path, header: ImageHeader) -> Iterator[LabelRow]:
    """Read "class,left,top,right,bottom" lines, sides as fractions of the image."""
    width, height = header.size_wh
    with label.open(newline="") as file:
        for number, columns in enumerate(csv.reader(file), start=1):
            try:
                name, *sides = columns
                left, top, right, bottom = map(float, sides)
            except ValueError:
                yield faulty_row(f"{label}:{number}", "malformed_line")
                continue
            box = (left * width, top * height, right * width, bottom * height)
            yield LabelRow(f"{label}:{number}", name, box)


CSV = LabelFormat(".csv", read_csv_rows)


@pytest.fixture
def labelled(tmp_path):
    """Give a function that labels one image of 100 x 50, and the options that convert it."""

    def write(text: str, **options) -> ConvertConfig:
        for name in ("images", "labels"):
            (tmp_path / "seq" / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 50)).save(tmp_path / "seq" / "images" / "a.jpg")
        (tmp_path / "seq" / "labels" / "a.csv").write_text(text)
        named = {"image_dir_name": "images", "label_dir_name": "labels", "workers": 1}
        folders = {"input_source": tmp_path / "seq", "results_dir": tmp_path / "out"}
        return ConvertConfig(**{**folders, **named, **options})

    return write


def test_a_format_that_is_handed_in_is_converted(labelled):
    """Boxes, classes and bad lines go the way that every format's go."""
    config = labelled("cat,0.1,0.2,0.5,0.6\ndog,0,0,1,1\ncat,0.1\ncat,0.5,0.5,0.2,0.2\n")
    summary = convert(config, own_format=CSV)
    (file,) = summary.folds[0].json_files
    rows = json.loads(file.read_text())["annotations"]
    assert [row["bbox"] for row in rows] == [[10, 10, 40, 20], [0, 0, 100, 50]]
    assert [category.name for category in summary.categories] == ["dog", "cat"]
    assert summary.dropped["malformed_line"] == {"": 1}
    assert len(summary.dropped) == 2  # and the box without area


def test_a_format_that_is_handed_in_may_be_mapped_and_strict(labelled, tmp_path):
    """mapping_path and strict mean what they always mean."""
    (tmp_path / "map.json").write_text('{"cat": "animal", "dog": "animal"}')
    config = labelled("cat,0,0,1,1\ndog,0,0,1,1\n", mapping_path=tmp_path / "map.json")
    assert convert(config, own_format=CSV).kept == {"animal": 2}
    with pytest.raises(DataError, match=r"strict: nothing may be dropped.*malformed_line"):
        convert(labelled("cat\n", strict=True), own_format=CSV)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("a:1", "cat", (1, 2, 3, 4)), r"read_rows must give LabelRows, got \('a:1'"),
        (faulty_row("a:1", "my_fault"), "a:1: 'my_fault' is no fault of a label file; known: "),
        (LabelRow("a:1", "cat", (1, 2, 3)), "a:1: a box has four numbers"),  # type: ignore[arg-type]
        (None, "read_rows failed: ZeroDivisionError"),
    ],
)
def test_a_reader_that_does_not_keep_the_contract_is_told(labelled, row, words) -> None:
    """With the label file, instead of an error from within."""

    def read_rows(label: Path, header: ImageHeader) -> Iterator[LabelRow]:
        if row is None:
            raise ZeroDivisionError
        yield row

    with pytest.raises(DataError, match=words):
        convert(labelled("cat\n"), own_format=LabelFormat(CSV.extension, read_rows))


def test_an_extension_has_a_dot(labelled) -> None:
    """Without one no label file would be found."""
    with pytest.raises(DataError, match="begins with a dot, got 'csv'"):
        convert(labelled("cat\n"), own_format=LabelFormat("csv", CSV.read_rows))
