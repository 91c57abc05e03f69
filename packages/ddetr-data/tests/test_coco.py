"""Sources with good and bad rows become one set, every fault by its stated rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddetr_data.coco import DetectionSet, load_sources
from ddetr_data.config import DataSource
from ddetr_data.faults import DataError

Content = dict[str, Any]
Write = Callable[..., DataSource]


def load(*sources: DataSource, num_classes: int | None = 91) -> DetectionSet:
    return load_sources(sources, num_classes=num_classes)


def test_a_clean_file_is_read_as_it_stands(content: Content, write_source: Write) -> None:
    """Ids, sizes, boxes and names come through and nothing is counted."""
    loaded = load(write_source(content))
    assert dict(loaded.faults) == {}
    assert [category.name for category in loaded.categories] == ["car", "person"]
    assert loaded.num_classes == 3
    record = loaded.images[0]
    assert (record.id, record.file_name, record.width, record.height) == (1, "1.png", 40, 30)
    assert record.path.is_file()
    assert record.boxes_xywh.tolist() == [[5, 4, 10, 8], [10, 4, 10, 8]]
    assert record.labels.tolist() == [1, 2]


def test_annotations_go_to_their_image_in_any_order(content: Content, write_source: Write) -> None:
    """Rows need not be sorted, and images may have none."""
    content["annotations"].reverse()
    content["images"].insert(0, {"id": 9, "file_name": "9.png", "width": 40, "height": 30})
    loaded = load(write_source(content))
    assert [len(record.annotations) for record in loaded.images] == [0, 2, 2]
    assert loaded.images[1].labels.tolist() == [2, 1]


def test_ground_truth_goes_back_to_coco(content: Content, write_source: Write) -> None:
    """to_coco gives what was read, with annotation ids from 1."""
    for row in content["annotations"]:
        row["id"] -= 1
    truth = load(write_source(content)).to_coco()
    assert truth["images"] == content["images"]
    assert [row["id"] for row in truth["annotations"]] == [1, 2, 3, 4]
    assert truth["annotations"][3]["bbox"] == content["annotations"][3]["bbox"]


def test_sources_with_the_same_ids_are_numbered_anew(content: Content, write_source: Write) -> None:
    """Two ordinary COCO files add up, and each image keeps its own objects."""
    first = write_source(content, "a")
    content["annotations"][0]["bbox"] = [1, 2, 3, 4]
    both = load(first, write_source(content, "b"))
    assert [record.id for record in both.images] == [1, 2, 3, 4]
    assert [record.source for record in both.images] == [0, 0, 1, 1]
    assert both.images[0].boxes_xywh[0].tolist() == [5, 4, 10, 8]
    assert both.images[2].boxes_xywh[0].tolist() == [1, 2, 3, 4]
    assert both.images[2].path.parent.name == "b"
    assert both.faults["clashing_image_ids"] == 1


def test_sources_with_distinct_ids_keep_them(content: Content, write_source: Write) -> None:
    """Nothing is renumbered without need, so results name the images as the user does."""
    first = write_source(content, "a")
    for row in content["images"]:
        row["id"] += 100
    for row in content["annotations"]:
        row["image_id"] += 100
    both = load(first, write_source(content, "b"))
    assert [record.id for record in both.images] == [1, 2, 101, 102]


def test_shards_of_one_source_add_up(content: Content, write_source: Write) -> None:
    """A folder of JSON files is one source."""
    source = write_source(content)
    (Path(source.image_dir) / "more.json").write_text(json.dumps(content))
    loaded = load(DataSource(image_dir=source.image_dir, json_file=source.image_dir))
    assert len(loaded.images) == 4
    assert {record.source for record in loaded.images} == {0}


def test_category_tables_that_differ_are_refused(content: Content, write_source: Write) -> None:
    """The error lists every difference between the sources."""
    first = write_source(content, "a")
    content["categories"] = [{"id": 1, "name": "bus"}, {"id": 2, "name": "person"}]
    content["categories"].append({"id": 3, "name": "bag"})
    with pytest.raises(DataError, match=r"id 1 is 'car' in .*; id 3: absent and 'bag'"):
        load(first, write_source(content, "b"))


def test_a_category_id_beyond_num_classes_is_refused(content: Content, write_source: Write) -> None:
    """The error names the id and the num_classes that would do."""
    source = write_source(content)
    with pytest.raises(DataError, match=r"'person' has id 2.* at least 3, got 2"):
        load(source, num_classes=2)
    assert len(load(source, num_classes=3).images) == 2


def test_category_ids_from_zero_are_fine(content: Content, write_source: Write) -> None:
    """0 is a class like any other."""
    content["categories"][0]["id"] = 0
    for row in content["annotations"][::2]:
        row["category_id"] = 0
    loaded = load(write_source(content))
    assert loaded.images[0].labels.tolist() == [0, 2]


def spoil(content: Content, table: str, **changes: Any) -> Content:
    """Change the first row of a list; a value of ... removes the key."""
    row = content[table][0]
    for key, value in changes.items():
        row[key] = value
        if value is ...:
            del row[key]
    return content


@pytest.mark.parametrize(
    ("table", "changes", "fault", "left"),
    [
        ("annotations", {"bbox": None}, "missing_box", 3),
        ("annotations", {"bbox": ..., "segmentation": [[1, 2, 9, 2, 9, 8]]}, "outlined_box", 4),
        ("annotations", {"bbox": [1, 2, 3]}, "malformed_box", 3),
        ("annotations", {"bbox": ["1", "2", "3", "4"]}, "text_box", 4),
        ("annotations", {"bbox": [float("nan"), 2, 3, 4]}, "not_finite_box", 3),
        ("annotations", {"bbox": [9, 9, -3, 4]}, "inverted_box", 3),
        ("annotations", {"bbox": [9, 9, 0, 4]}, "zero_box", 3),
        ("annotations", {"bbox": [90, 9, 5, 4]}, "outside_box", 3),
        ("annotations", {"bbox": [30, 9, 30, 4]}, "clipped_box", 4),
        ("annotations", {"bbox": [3, 9, 3000, 4]}, "huge_box", 3),
        ("annotations", {"image_id": 77}, "unknown_image", 3),
        ("annotations", {"image_id": [1]}, "unknown_image", 3),
        ("annotations", {"image_id": "1"}, "text_id", 4),
        ("annotations", {"category_id": "1"}, "text_id", 4),
        ("annotations", {"category_id": ...}, "annotation_without_category", 3),
        ("annotations", {"id": ...}, "annotation_without_id", 4),
        ("annotations", {"id": 2}, "shared_annotation_id", 4),
        ("annotations", {"area": ...}, "filled_area", 4),
        ("annotations", {"area": "big"}, "filled_area", 4),
        ("annotations", {"iscrowd": ...}, "filled_is_crowd", 4),
        ("annotations", {"iscrowd": 7}, "filled_is_crowd", 4),
        ("images", {"id": "1"}, "text_id", 4),
        ("images", {"id": ...}, "image_without_id", 2),
        ("images", {"file_name": ...}, "image_without_file_name", 2),
        ("images", {"width": ...}, "filled_image_size", 4),
        ("images", {"height": "?"}, "filled_image_size", 4),
        ("images", {"width": -1}, "filled_image_size", 4),
        ("categories", {"id": "1"}, "text_id", 4),
        ("categories", {"name": ...}, "unnamed_category", 4),
        ("categories", {"name": "person"}, "shared_category_name", 4),
    ],
)
def test_a_fault_is_mended_or_dropped_and_counted(
    content: Content, write_source: Write, table: str, changes: Content, fault: str, left: int
) -> None:
    """One bad row costs at most itself, and is named in the log."""
    loaded = load(write_source(spoil(content, table, **changes)))
    assert dict(loaded.faults)[fault] >= 1
    assert sum(len(record.annotations) for record in loaded.images) == left
    assert all("labels.json" in loaded.faults.first(found) for found in loaded.faults)


@pytest.mark.parametrize("table", ["images", "annotations", "categories"])
def test_rows_that_are_no_objects_are_dropped(
    content: Content, write_source: Write, table: str
) -> None:
    """A stray null or text in a list harms nothing."""
    content[table] += [None, "row"]
    loaded = load(write_source(content))
    assert loaded.faults["row_not_object"] == 2
    assert len(loaded.images) == 2


@pytest.mark.parametrize("table", ["images", "annotations", "categories"])
def test_a_row_that_stands_twice_counts_once(
    content: Content, write_source: Write, table: str
) -> None:
    """A repeated row is dropped and counted."""
    content[table].append(content[table][0])
    loaded = load(write_source(content))
    assert sum(loaded.faults.values()) == 1
    assert sum(len(record.annotations) for record in loaded.images) == 4


@pytest.mark.parametrize("identity", [2**60, -4, "img_a"])
def test_ids_that_cannot_be_kept_are_numbered_anew(
    content: Content, write_source: Write, identity: object
) -> None:
    """Texts and very large ids still link images and annotations."""
    for row in (content["images"][0], *content["annotations"][:2]):
        row["image_id" if "bbox" in row else "id"] = identity
    loaded = load(write_source(content))
    assert [record.id for record in loaded.images] == [1, 2]
    assert len(loaded.images[0].annotations) == 2
    assert loaded.faults["unusable_image_id"] == 1


@pytest.mark.parametrize(
    ("table", "changes", "sentence"),
    [
        ("annotations", {"category_id": 99}, "category_id 99 of annotation 1 is not in"),
        ("annotations", {"category_id": "cat"}, "category_id 'cat' of annotation 1 is not in"),
        ("images", {"id": 2}, "image id 2 stands for both '1.png' and '2.png'"),
        ("categories", {"id": 2}, "category id 2 is both 'car' and 'person'"),
        ("categories", {"id": None}, "id must be a whole number"),
        ("categories", {"id": -1}, "id must be a whole number"),
    ],
)
def test_what_no_rule_mends_is_refused(
    content: Content, write_source: Write, table: str, changes: Content, sentence: str
) -> None:
    """One sentence names the file, the row and the value."""
    with pytest.raises(DataError, match=sentence) as caught:
        load(write_source(spoil(content, table, **changes)))
    assert "labels.json" in str(caught.value)


@pytest.mark.parametrize(
    ("table", "value", "sentence"),
    [
        ("images", [], "list its images"),
        ("images", {}, "list its images"),
        ("images", [None], "no usable image"),
        ("categories", [], "list its classes"),
        ("categories", None, "list its classes"),
    ],
)
def test_a_file_without_images_or_classes_is_refused(
    content: Content, write_source: Write, table: str, value: object, sentence: str
) -> None:
    """An empty set is an error, not a run that learns nothing."""
    source = write_source(content)
    Path(source.json_file[0]).write_text(json.dumps({**content, table: value}))
    with pytest.raises(DataError, match=sentence):
        load(source)


@pytest.mark.parametrize("value", [None, {}, []])
def test_a_file_without_annotations_is_a_set_without_objects(
    content: Content, write_source: Write, value: object
) -> None:
    """Images without objects are kept."""
    content["annotations"] = value
    assert [len(record.annotations) for record in load(write_source(content)).images] == [0, 0]


def test_boxes_in_another_format_are_refused(content: Content, write_source: Write) -> None:
    """Normalised boxes are not taken for specks in the corner."""
    for row in content["annotations"]:
        row["bbox"] = [0.1, 0.2, 0.5, 0.5]
    with pytest.raises(DataError, match="are normalised"):
        load(write_source(content))


def test_an_unreadable_size_is_refused_or_skipped(content: Content, write_source: Write) -> None:
    """Without a size in the JSON the image must tell it."""
    source = write_source(spoil(content, "images", width=None))
    (Path(source.image_dir) / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"image id 1 has no width .*1\.png cannot be read"):
        load(source)
    skipped = load_sources([source], num_classes=None, corrupt_images="skip")
    assert [record.id for record in skipped.images] == [2]


def test_file_names_in_odd_forms_are_found(content: Content, write_source: Write) -> None:
    """Backslashes and another Unicode form of the name lead to the same file."""
    source = write_source(content)
    folder = Path(source.image_dir)
    (folder / "sub").mkdir()
    (folder / "1.png").rename(folder / "sub" / "1.png")
    (folder / "2.png").rename(folder / "gr\u00fcn.png")
    content["images"][0]["file_name"] = "sub\\1.png"
    content["images"][1]["file_name"] = "gru\u0308n.png"
    Path(source.json_file[0]).write_text(json.dumps(content))
    assert all(record.path.is_file() for record in load(source).images)


def test_missing_folders_and_files_are_named(content: Content, write_source: Write) -> None:
    """The error says which of the two is not there."""
    source = write_source(content)
    with pytest.raises(FileNotFoundError, match="image_dir must be a folder"):
        load(DataSource(image_dir="nowhere", json_file=source.json_file))
    with pytest.raises(FileNotFoundError, match=r"json_file must be .* nowhere\.json is missing"):
        load(DataSource(image_dir=source.image_dir, json_file="nowhere.json"))
    with pytest.raises(DataError, match="at least one data source"):
        load()


def test_real_sets_have_no_fault(shared_data: Path) -> None:
    """Two published sets load with all their rows."""
    for name, images, boxes in (("bccd", 205, 2804), ("coco_permissive", 58, 542)):
        folder = shared_data / name
        loaded = load(
            DataSource(
                image_dir=str(folder / "images" / "train"),
                json_file=str(folder / "annotations" / "instances_train.json"),
            )
        )
        assert (len(loaded.images), dict(loaded.faults)) == (images, {})
        assert sum(len(record.annotations) for record in loaded.images) == boxes
