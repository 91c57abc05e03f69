"""Checking COCO files: every fault is named with file, row and count, and none stops the others."""

import gzip
import json

import pytest
from PIL import Image

from ddetr_data.check import CheckOptions, check_dataset
from ddetr_data.config import DataSource

SIZE_WH = (64, 48)
FAST = CheckOptions(decode=False)


def good_table():
    """Three images with two objects each, of two classes."""
    images = [
        {"id": number, "file_name": f"{number}.png", "width": 64, "height": 48}
        for number in (1, 2, 3)
    ]
    annotations = [
        {
            "id": number,
            "image_id": (number + 1) // 2,
            "category_id": 1 + number % 2,
            "bbox": [30.5, 20.5, 12.0, 20.0],
            "area": 240.0,
            "iscrowd": 0,
        }
        for number in range(1, 7)
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture
def folder(tmp_path):
    """The images of good_table."""
    for number in (1, 2, 3):
        Image.new("RGB", SIZE_WH, (number, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


def check(folder, content, options=FAST):
    """Check one file with the content: a table, or bytes as they are."""
    path = folder / "coco.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return check_dataset({"train": [DataSource(image_dir=folder, json_file=path)]}, options)


def test_good_file_is_clean(folder):
    """Nothing is found, and the images and objects are counted."""
    report = check(folder, good_table())
    assert (report.findings, report.exit_status) == ((), 0)
    assert (report.images, report.annotations) == (3, 6)


ROW_FAULTS = [
    ("bbox", [-20, 0, 30, 30], "clipped_box", 1),
    ("bbox", [70, 50, 5, 5], "outside_box", 1),
    ("bbox", [20, 20, -5, 5], "inverted_box", 1),
    ("bbox", [20, 20, 0, 5], "zero_box", 1),
    ("bbox", [float("nan"), 0, 5, 5], "not_finite_box", 1),
    ("bbox", None, "missing_box", 1),
    ("bbox", [1, 2, 3], "malformed_box", 1),
    ("bbox", ["1", "2", "3", "4"], "text_box", 1),
    ("bbox", [0, 0, 6400, 10], "huge_box", 1),
    ("bbox", [0.1, 0.2, 0.5, 0.25], "normalised_box", 1),
    ("bbox", {"x": 1, "y": 2, "w": 3, "h": 4}, "malformed_box", 1),
    ("bbox", [[1, 2, 3, 4]], "malformed_box", 1),
    ("bbox", [10**400, 1, 2, 3], "malformed_box", 1),
    ("category_id", 99, "unknown_category", 2),
    ("category_id", "1", "text_id", 1),
    ("category_id", None, "annotation_without_category", 1),
    ("image_id", 77, "unknown_image", 1),
    ("image_id", "1", "text_id", 1),
    ("id", None, "annotation_without_id", 1),
    ("id", 1, "shared_annotation_id", 1),
    ("iscrowd", 1, "crowd", 0),
    ("iscrowd", None, "filled_is_crowd", 1),
    ("iscrowd", "0", "text_is_crowd", 1),
    ("area", None, "filled_area", 1),
]


@pytest.mark.parametrize(("key", "value", "fault", "status"), ROW_FAULTS)
def test_fault_of_an_annotation(folder, key, value, fault, status):
    """The fault alone is found, in its file, at its row, with the rule's exit status."""
    table = good_table()
    table["annotations"][2][key] = value
    report = check(folder, table)
    assert report.counts.get(fault) == 1
    assert report.exit_status == status
    (found,) = [one for one in report.findings if one.fault == fault]
    assert found.file == str(folder / "coco.json")
    assert found.locations


IMAGE_FAULTS = [
    ({"id": None}, "image_without_id", 1),
    ({"id": "2"}, "text_id", 1),
    ({"id": 2**53 + 1}, "unusable_image_id", 1),
    ({"id": 1}, "two_file_names", 2),
    ({"id": 1, "file_name": "1.png"}, "repeated_image", 1),
    ({"file_name": None}, "image_without_file_name", 1),
    ({"file_name": "gone.png"}, "missing_image", 2),
    ({"width": None}, "filled_image_size", 1),
    ({"width": None, "file_name": "gone.png"}, "no_image_size", 2),
    ({"width": "64", "height": "48"}, "text_image_size", 1),
    ({"width": 0}, "filled_image_size", 1),
    ({"file_name": "\ud800.png"}, "unreadable_image", 2),
    ({"file_name": "a\x00.png"}, "unreadable_image", 2),
    ({"width": 128, "height": 96}, "resized_image", 1),
    ({"width": 48, "height": 64}, "other_image_size", 1),
]


@pytest.mark.parametrize(("change", "fault", "status"), IMAGE_FAULTS)
def test_fault_of_an_image_row(folder, change, fault, status):
    """The fault is found besides what follows from it."""
    table = good_table()
    table["images"][1].update(change)
    report = check(folder, table)
    assert report.counts.get(fault) == 1
    assert report.exit_status == status


CATEGORY_FAULTS = [
    ([], "no_categories", 2),
    ([{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}], "two_category_names", 2),
    ([{"id": 1, "name": "cat"}, {"id": -2, "name": "dog"}], "unusable_category_id", 2),
    ([{"id": 1, "name": "cat"}, {"id": "2", "name": "dog"}], "text_id", 1),
    ([{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}], "shared_category_name", 1),
    ([{"id": 1, "name": "cat"}, {"id": 2}], "unnamed_category", 1),
    ([*good_table()["categories"], {"id": 2, "name": "dog"}], "repeated_category", 1),
    ([*good_table()["categories"], {"id": 0, "name": "none"}], "category_id_zero", 0),
    ([*good_table()["categories"], {"id": 4, "name": "emu"}], "category_id_gaps", 0),
    ([*good_table()["categories"], {"id": 3, "name": "emu"}], "unused_category", 0),
    ([{"id": 1, "name": "cat"}, {"id": 2, "name": 7}], "odd_category_name", 1),
    ([{"id": 1, "name": "cat"}, {"id": 2, "name": "\udc00"}], "odd_category_name", 1),
]


@pytest.mark.parametrize(("categories", "fault", "status"), CATEGORY_FAULTS)
def test_fault_of_the_category_table(folder, categories, fault, status):
    """The fault is found and the rest of the file is still looked at."""
    report = check(folder, {**good_table(), "categories": categories})
    assert report.counts.get(fault) == 1
    assert report.exit_status == status
    assert report.images == 3


@pytest.mark.parametrize(
    ("content", "fault", "text"),
    [
        (b"", "unusable_json", "empty"),
        (b'{"images": [', "unusable_json", "cut off"),
        (b"[]", "unusable_json", "list"),
        (b"[" * 100_000, "unusable_json", "deeply"),
        (b'{"images": ' + b"9" * 5000 + b"}", "unusable_json", "digits"),
        (b"<!doctype html><html>", "unusable_json", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "unusable_json", "LFS"),
        (gzip.compress(b"{}", mtime=0)[:-6], "unusable_json", "gzip"),
        (b'{"categories": [{"id": 1, "name": "a"}]}', "no_images", "images"),
    ],
)
def test_file_that_is_no_table_is_an_error(folder, content, fault, text):
    """What the file looks like is said; nothing is raised."""
    report = check(folder, content)
    assert report.exit_status == 2
    (found,) = [one for one in report.findings if one.fault == fault]
    assert text in found.locations[0]


@pytest.mark.parametrize(
    ("dress", "fault"),
    [
        (lambda text: text.encode("utf-8-sig"), "odd_encoding"),
        (lambda text: text.encode("utf-16"), "odd_encoding"),
        (lambda text: gzip.compress(text.encode(), mtime=0), "compressed_json"),
    ],
)
def test_other_encodings_are_read(folder, dress, fault):
    """A BOM, UTF-16 and gzip are warnings, and the labels are all there."""
    report = check(folder, dress(json.dumps(good_table())))
    assert report.counts == {fault: 1}
    assert report.annotations == 6


def test_rows_under_a_repeated_key_are_not_lost(folder):
    """Python takes the last of two equal keys; lists of rows are joined, the rest is counted."""
    text = json.dumps(good_table()).replace('"id": 1, "file', '"id": 7, "id": 1, "file')
    more = [{**good_table()["annotations"][0], "id": 50}]
    report = check(folder, f'{text[:-1]}, "annotations": {json.dumps(more)}}}'.encode())
    assert report.counts == {"repeated_box": 1, "repeated_key": 2}
    assert report.annotations == 7


def test_boxes_in_another_format_are_refused(folder):
    """Corners and normalised boxes are recognised from the whole file."""
    for box in ([30, 20, 60, 45], [0.1, 0.2, 0.5, 0.5]):
        table = good_table()
        for row in table["annotations"]:
            row["bbox"] = box
        report = check(folder, table)
        assert report.counts == {"other_box_format": 6}
        assert report.findings[0].locations[5] == f"annotation 6, image 3: {box}"


def test_everything_wrong_at_once_is_all_reported(folder):
    """Many faults in one file are all found, each with its own count."""
    table = good_table()
    for number, (key, value, *_) in enumerate(ROW_FAULTS * 2):
        row = {**table["annotations"][0], "id": 100 + number, key: value}
        table["annotations"].append(row)
    table["annotations"].append("no row")
    table["categories"].append({"id": -1, "name": "bad"})
    table["images"].append({"id": 9, "file_name": "gone.png", "width": 4, "height": 4})
    report = check(folder, table)
    expected = {fault for _, _, fault, _ in ROW_FAULTS} - {"shared_annotation_id"}
    expected |= {"repeated_annotation", "row_not_object", "unusable_category_id", "missing_image"}
    assert expected <= report.counts.keys()
    assert report.counts["zero_box"] == 2
    assert report.exit_status == 2


def test_every_row_is_named(folder):
    """All rows are listed with annotation and image id; a table shows the first five."""
    table = good_table()
    for row in table["annotations"]:
        row["bbox"] = [5, 5, 0, 0]
    report = check(folder, table)
    (found,) = [one for one in report.findings if one.fault == "zero_box"]
    assert found.count == 6
    assert found.locations[:2] == ("annotation 1, image 1", "annotation 2, image 1")
    assert len(found.locations) == 6
    assert found.locations[5] not in report.rows()[0][4]


def test_objects_against_the_model(folder):
    """Ids from num_classes on are errors, more objects than queries a warning."""
    options = CheckOptions(num_classes=2, num_queries=1, decode=False)
    report = check(folder, good_table(), options)
    assert report.counts == {"category_beyond_model": 1, "more_objects_than_queries": 3}


def test_images_without_objects_are_notes(folder):
    """Background images are data; a file without any object is a warning."""
    table = good_table()
    table["annotations"] = table["annotations"][:4]
    assert check(folder, table).counts == {"image_without_objects": 1}
    report = check(folder, {**table, "annotations": []})
    assert report.counts == {"no_objects": 1, "unused_category": 2}
    assert report.exit_status == 1


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("with blank.png", "odd_file_name"),
        ("u\u0308.png", "odd_file_name"),
        ("a\\b.png", "odd_file_name"),
        ("/somewhere/a.png", "outside_file_name"),
        ("../a.png", "outside_file_name"),
        ("a" * 252 + ".png", "long_file_name"),
    ],
)
def test_odd_file_names_are_told(folder, name, fault):
    """Names that trouble other programs are noted, found or not."""
    table = good_table()
    table["images"][0]["file_name"] = name
    assert check(folder, table).counts.get(fault) == 1


def test_rows_of_one_id_are_told_apart_in_any_order(folder):
    """Equal rows are one row, whatever stands between them; others have one id and all stay."""
    table = good_table()
    row = {**table["annotations"][0], "id": 70}
    other = {**row, "bbox": [1, 1, 9, 9]}
    table["annotations"] += [other, row, row, other]
    report = check(folder, table)
    assert report.counts == {
        "shared_annotation_id": 1,
        "repeated_annotation": 2,
        "repeated_box": 1,  # of the row with another id, fault 25
    }
    assert report.annotations == 8


def test_every_unknown_category_is_counted_and_named(folder):
    """One error, with all its rows."""
    table = good_table()
    for row in table["annotations"][:2]:
        row["category_id"] = 77
    (found,) = [one for one in check(folder, table).findings if one.fault == "unknown_category"]
    assert found.count == 2
    assert found.locations[1] == "annotation 2, image 1: category_id 77"


@pytest.mark.parametrize("name", [" cat ", "cat\n", "c\nat", "cat\u2028"])
def test_names_with_line_ends_or_outer_blanks_are_mended(folder, name):
    """A list of classes has one line for each, and blanks at its ends are seen by nobody."""
    table = good_table()
    table["categories"][0]["name"] = name
    assert check(folder, table).counts == {"odd_category_name": 1}


def test_rows_that_are_no_objects_and_crowds_are_named(folder):
    """By their number in the list, and by their image."""
    table = good_table()
    table["annotations"][1]["iscrowd"] = 1
    table["annotations"].append(5)
    found = {one.fault: one.locations for one in check(folder, table).findings}
    assert found == {"row_not_object": ("annotation row 6",), "crowd": ("image 1",)}


def test_a_file_under_two_ids_is_told(folder):
    """Both are used; that they are one image is said with both ids."""
    table = good_table()
    table["images"].append({**table["images"][0], "id": 90})
    report = check(folder, table)
    assert report.counts == {"repeated_file": 1, "image_without_objects": 1}
    assert report.findings[0].locations[0].startswith("image 90: ")
