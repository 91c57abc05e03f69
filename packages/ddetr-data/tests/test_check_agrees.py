"""Whatever a file holds: checking does not fail, and refuses exactly what loading refuses."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ddetr_data.check import CheckOptions, check_dataset
from ddetr_data.coco import load_sources
from ddetr_data.config import DataSource
from ddetr_data.faults import DataError

GOOD = {
    "images": [{"id": n, "file_name": f"{n}.png", "width": 64, "height": 48} for n in (1, 2, 3)],
    "annotations": [
        {"id": n, "image_id": 1 + n % 3, "category_id": 1, "bbox": [30, 20, 12, 20], "iscrowd": 0}
        for n in range(5)
    ],
    "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
}
NUMBERS = [0, -1, 2, 1.5, 1e308, float("nan"), float("inf"), 2**53 + 1, 2**64, 10**400, True]
TEXTS = ["", "1", "x", "nan", "\ud800", "a\x00.png", "..", "é"]
LISTS = [[], [1], [1, 2, 3, 4], ["1", "2", "3", "4"], [None] * 4, [[1], 2, 3, 4]]
ODD = st.sampled_from([None, {}, *NUMBERS, *TEXTS, *LISTS])
CHANGES = st.lists(
    st.tuples(st.sampled_from(sorted(GOOD)), st.integers(-1, 4), st.integers(-1, 5), ODD),
    min_size=1,
    max_size=4,
)
# Images that cannot be read are refused after loading, by verify_images; too many dropped objects,
# by the contract of a run.
LATER = {"missing_image", "unreadable_image", "most_dropped"}


def spoil(changes):
    """Replace a whole list (row -1), a row (column -1), or one value of a row."""
    table = copy.deepcopy(GOOD)
    for name, row, column, drawn in changes:
        value, rows = copy.deepcopy(drawn), table[name]
        if row < 0 or not isinstance(rows, list) or not rows:
            table[name] = value
        elif column < 0 or not isinstance(rows[row % len(rows)], dict):
            rows[row % len(rows)] = value
        else:
            item = rows[row % len(rows)]
            item[sorted(item)[column % len(item)] if item else "id"] = value
    return table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("spoiled")
    for number in (1, 2, 3):
        Image.new("RGB", (64, 48), (number, 0, 0)).save(path / f"{number}.png")
    return path


@settings(max_examples=150, deadline=None)
@given(changes=CHANGES)
def test_check_refuses_what_loading_refuses(folder, changes):
    """An error of the check is an error of loading, and the other way round."""
    (folder / "coco.json").write_text(json.dumps(spoil(changes)))
    sources = [DataSource(image_dir=folder, json_file=folder / "coco.json")]
    report = check_dataset({"train": sources}, CheckOptions(num_classes=50, decode=False))
    errors = {one.fault for one in report.findings if one.rule.severity == "error"} - LATER
    try:
        loaded = load_sources(sources, num_classes=50)
    except DataError:
        assert errors
    else:
        assert not errors
        assert len(loaded.images) == report.images
        assert sum(len(record.labels) for record in loaded.images) == report.annotations
