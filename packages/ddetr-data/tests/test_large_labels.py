"""Large label files are read in pieces, with the result, and the errors, of reading at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddetr_data.coco import read_coco_file, read_json_object
from ddetr_data.faults import DataError, FaultLog

IN_PIECES, AT_ONCE = 0, 2**60
Content = dict[str, Any]
Spoil = Callable[[Content], object]


def outcome(path: Path, streamed_from_bytes: int, **rules: bool) -> tuple[Any, ...]:
    """What is read and what is told of it, or the error."""
    faults = FaultLog()
    try:
        found = read_coco_file(
            path, str(path.parent), faults, streamed_from_bytes=streamed_from_bytes, **rules
        )
    except DataError as error:
        return (str(error),)
    columns = {name: column.tolist() for name, column in found.columns.as_dict().items()}
    return found.categories, repr(columns), faults.to_dict()


def same_both_ways(path: Path, **rules: bool) -> tuple[Any, ...]:
    in_pieces, at_once = (outcome(path, each, **rules) for each in (IN_PIECES, AT_ONCE))
    assert in_pieces == at_once
    return in_pieces


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A path in a folder with an image, for labels that state no size."""
    Image.new("RGB", (40, 30)).save(tmp_path / "1.png")
    return tmp_path / "labels.json"


def labels(images: int = 6) -> Content:
    """Boxes of whole and broken numbers, some over the border, in images out of order."""
    rng = np.random.default_rng(0)
    rows = []
    for id in range(5 * images):
        left, top, width, height = rng.integers(0, 28, 4).tolist()
        box = [left, top + 0.5, width + 1, height + 1.25]
        row = {"id": id, "image_id": int(rng.integers(1, images + 1)), "category_id": id % 2 + 1}
        rows.append(row | {"bbox": box, "area": id % 3 or 7.5, "iscrowd": int(id % 9 == 0)})
    named = [{"id": id, "file_name": f"{id}.png"} for id in range(1, images + 1)]
    return {
        "info": {"description": "\u20ac", "numbers": [1, -2.5e3, True, None]},
        "images": [each | {"width": 40, "height": 30} for each in named],
        "annotations": rows,
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "b\u00e4r"}],
    }


def every(key: str, value: object) -> Spoil:
    return lambda content: [row.update({key: value}) for row in content["annotations"]]


def one(key: str, value: object) -> Spoil:
    return lambda content: content["annotations"][7].update({key: value})


def without(key: str) -> Spoil:
    return lambda content: [row.pop(key) for row in content["annotations"]]


SPOILS: dict[str, Spoil] = {
    "nothing": lambda _: None,
    "polygons": every("segmentation", [[1, 2, 3, 4, 5, 6.5]]),
    "polygons alone": lambda c: c["annotations"][3].update(bbox=None, segmentation=[[1, 2] * 3]),
    "polygons beside no box": lambda c: c["annotations"][3].update(
        bbox=[0, 0, 0, 0], segmentation=[[1, 2, 3, 4, 5, 6]]
    ),
    "no area": without("area"),
    "no crowds": without("iscrowd"),
    "one without an area": lambda c: c["annotations"][3].pop("area"),
    "marked": one("ignore", 1),
    "all marked": every("ignore", 1),
    "other keys": every("score", 0.5),
    "text ids": one("image_id", "1"),
    "text box": one("bbox", ["1", 2, 3, 4]),
    "short box": one("bbox", [1, 2, 3]),
    "box of truth": one("bbox", [True, 2, 3, 4]),
    "NaN": one("bbox", [1, float("nan"), 3, 4]),
    "infinity": one("area", float("inf")),
    "inverted": one("bbox", [9, 9, -3, 4]),
    "huge": one("bbox", [1, 1, 1e5, 4]),
    "long number": one("bbox", [2**70, 1, 1, 4]),
    "long id": one("id", 2**70),
    "exact id": one("id", 2**53 + 1),
    "unknown image": one("image_id", 99),
    "all unknown images": every("image_id", 99),
    "no class": one("category_id", None),
    "truth for a class": one("category_id", False),
    "unknown class": one("category_id", 9),
    "odd crowd": one("iscrowd", 2),
    "true crowd": one("iscrowd", True),
    "repeated id": one("id", 3),
    "repeated row": lambda c: c["annotations"].append(dict(c["annotations"][2])),
    "row of text": lambda c: c["annotations"].append("row"),
    "corners": lambda c: [row.update(bbox=[3, 2.5, 39, 30]) for row in c["annotations"]],
    "normalised": every("bbox", [0.1, 0.2, 0.3, 0.5]),
    "no annotations": lambda c: c["annotations"].clear(),
    "annotations of text": lambda c: c.update(annotations="none"),
    "no images": lambda c: c["images"].clear(),
    "image of text": lambda c: c["images"].append("image"),
    "image twice": lambda c: c["images"].append(dict(c["images"][0])),
    "image without size": lambda c: c["images"][0].pop("width"),
    "no categories": lambda c: c.pop("categories"),
}


@pytest.mark.parametrize(
    ("name", "is_compact"),
    [("nothing", True), ("polygons", True), ("no area", True), ("other keys", False)],
)
def test_plain_annotations_are_no_list_of_dicts(path: Path, name: str, is_compact: bool) -> None:
    """Of a large file; a row that is asked for is what the file says, less its outlines."""
    content = labels()
    SPOILS[name](content)
    path.write_text(json.dumps(content))
    rows = read_json_object(path, FaultLog(), streamed_from_bytes=IN_PIECES)["annotations"]
    assert isinstance(rows, list) != is_compact
    for row in content["annotations"]:
        row.pop("segmentation", None)
    assert repr([dict(sorted(row.items())) for row in rows]) == repr(
        [dict(sorted(row.items())) for row in content["annotations"]]
    )


@pytest.mark.parametrize("ignore_regions", [False, True])
@pytest.mark.parametrize("name", SPOILS)
def test_every_fault_is_told_alike(path: Path, name: str, ignore_regions: bool) -> None:
    """Counts, first source locations, sentences and columns."""
    content = labels()
    SPOILS[name](content)
    path.write_text(json.dumps(content))
    same_both_ways(path, ignore_regions=ignore_regions)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"images": [', '"images": [], "images": ['),
        ('"area": ', '"area": 1, "area": '),
        ('"annotations": [', '"annotations": [,'),
        ("}]", "},]"),
        ("true", "truth"),
        ("-2500.0", "-2.5e"),
        ("-2500.0", "1" * 5000),
        ('"info"', "info"),
        ('{"info"', '\ufeff{"info"'),
        ('"car"', '"c\tar"'),
        ('"car"', '"\\ud800"'),
        ('{"info"', '[{"info"'),
        ('{"info"', "<html>"),
        ('"info": {', '"info": ' + "[" * 100_000),
    ],
)
def test_every_fault_of_form_is_told_alike(path: Path, old: str, new: str) -> None:
    """Keys that stand twice, and what is no JSON, with the line and column."""
    text = json.dumps(labels(), ensure_ascii=False)
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    same_both_ways(path)


def test_a_file_cut_off_anywhere_is_told_alike(path: Path) -> None:
    """Inside of rows, numbers, letters and between them; also what follows the end."""
    data = json.dumps(labels(2), ensure_ascii=False).encode() + b" \n{}"
    for size in range(0, len(data) + 1, 3):
        path.write_bytes(data[:size])
        same_both_ways(path)


@pytest.mark.parametrize("indent", [None, 1])
def test_pieces_end_wherever_they_end(path: Path, indent: int | None) -> None:
    """Some megabytes: rows, numbers and letters of several bytes lie across the ends of pieces."""
    content = labels(5_000)
    for row in content["images"]:
        row["file_name"] = "\u20ac\u00e4" * (row["id"] % 50) + row["file_name"]
    path.write_text(json.dumps(content, ensure_ascii=False, indent=indent), "utf-8")
    assert path.stat().st_size > 3 * 2**20
    categories, _, faults = same_both_ways(path)
    assert len(categories) == 2
    assert set(faults) == {"clipped_box"}
    path.write_bytes(path.read_bytes()[:-9])
    assert "cut off" in same_both_ways(path)[0]
