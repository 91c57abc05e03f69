"""Checking whole data sets: splits against each other, KITTI folders, the report and the rules."""

import json
from pathlib import Path

import pytest
from PIL import Image

from ddetr_data.check import (
    CHECK_RULES,
    CheckLog,
    CheckOptions,
    CheckReport,
    check_conversion,
    check_dataset,
    rules_table,
)
from ddetr_data.config import DataSource
from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import LABEL_FILE_RULES, convert
from ddetr_data.faults import RULES, DataError, FaultLog
from ddetr_data.formats import ClassMapping
from ddetr_data.synthetic import make_dataset

KITTI_LINE = "{} 0 0 0 4 5 20 30 0 0 0 0 0 0 0"


def sources_of(made):
    return {
        split: [DataSource(image_dir=made.image_dirs[split], json_file=made.json_files[split])]
        for split in made.json_files
    }


@pytest.fixture
def made(tmp_path):
    return make_dataset(tmp_path, num_images={"train": 4, "val": 3}, image_size_hw=(48, 64))


def test_synthetic_set_has_nothing_worse_than_notes(made):
    """A good set exits 0, with progress told up to the last image."""
    seen = []
    report = check_dataset(sources_of(made), on_progress=lambda *at: seen.append(at))
    assert report.exit_status == 0
    assert report.images == 7
    assert seen[-1] == (7, 7)


def test_same_image_in_two_splits_is_found_by_content(made):
    """A copy under another name is a warning between splits, and within one."""
    first = made.image_dirs["train"] / "000000.jpg"
    for target in (made.image_dirs["val"] / "000001.jpg", made.image_dirs["train"] / "000002.jpg"):
        target.write_bytes(first.read_bytes())
    report = check_dataset(sources_of(made))
    assert report.counts["same_image_in_splits"] == 1
    assert report.counts["same_image"] == 1
    assert report.exit_status == 1


def test_category_tables_of_all_files_must_agree(made):
    """Another name for an id in val is an error that lists the difference."""
    table = json.loads(made.json_files["val"].read_text())
    table["categories"][0]["name"] = "disc"
    made.json_files["val"].write_text(json.dumps(table))
    report = check_dataset(sources_of(made))
    assert report.counts["differing_categories"] == 1
    assert "id 1 is 'circle' in " in report.findings[0].locations[0]


def test_ids_that_clash_within_a_split_are_counted(made, tmp_path):
    """Two files of one split with the same ids are renumbered on loading, which is said."""
    copy = tmp_path / "copy.json"
    copy.write_bytes(made.json_files["train"].read_bytes())
    both = DataSource(
        image_dir=made.image_dirs["train"], json_file=(made.json_files["train"], copy)
    )
    assert check_dataset({"train": [both]}).counts["clashing_image_ids"] == 4


def test_missing_files_and_folders_are_findings(made, tmp_path):
    """What is not there is reported, and the other sources are still checked."""
    sources = [
        DataSource(image_dir=tmp_path / "gone", json_file=made.json_files["val"]),
        DataSource(image_dir=made.image_dirs["val"], json_file=tmp_path / "gone.json"),
        *sources_of(made)["val"],
    ]
    report = check_dataset({"val": sources})
    assert {"missing_folder", "unusable_json"} <= report.counts.keys()
    assert report.images == 3


def test_processes_find_what_one_process_finds(tmp_path):
    """The report does not depend on the number of workers."""
    made = make_dataset(tmp_path, num_images={"train": 8}, image_size_hw=(48, 64))
    (made.image_dirs["train"] / "000001.jpg").write_bytes(b"")
    alone = check_dataset(sources_of(made), CheckOptions(workers=1))
    parallel = CheckOptions(workers=2, images_a_chunk=1)  # eight chunks are worth two processes
    assert check_dataset(sources_of(made), parallel) == alone
    assert alone.counts["unreadable_image"] == 1


def kitti_set(folder: Path, *lines: str) -> list[DataSource]:
    """Two images, of which the second has no label file."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for stem in ("0", "1"):
        Image.new("RGB", (64, 48), (int(stem), 0, 0)).save(folder / "images" / f"{stem}.png")
    (folder / "labels/0.txt").write_text("\n".join(lines))
    return [DataSource(image_dir=folder / "images", json_file=folder / "labels")]


def test_kitti_folder_is_checked_line_by_line(tmp_path):
    """Columns, commas, NaN, unknown and DontCare classes are each named with their line."""
    good = KITTI_LINE.format("person")
    lines = [
        good,
        f"{good} 0.5",
        good[:-2],
        "person 0 0 0 1 2 3 4",
        good.replace(" ", ","),
        good.replace("20", "NaN"),
        KITTI_LINE.format("Car"),
        KITTI_LINE.format("DontCare"),
    ]
    options = CheckOptions(mapping=ClassMapping({"person": "person"}), max_dropped=1)
    report = check_dataset({"train": kitti_set(tmp_path, *lines)}, options)
    assert report.counts == {
        "malformed_line": 3,
        "not_finite_box": 1,
        "unmapped_class": 1,
        "dont_care": 1,
        "missing_label_file": 1,
        "repeated_box": 1,
    }
    assert report.annotations == 2
    (found,) = [one for one in report.findings if one.fault == "malformed_line"]
    assert found.file == str(tmp_path / "labels")
    assert found.locations == tuple(f"{tmp_path}/labels/0.txt:{number}" for number in (3, 4, 5))


def test_label_files_that_cannot_be_read_stop_nothing(tmp_path):
    """A folder or a dangling link for a label, other encodings, no text, no line ends."""
    good = KITTI_LINE.format("person")
    sources = kitti_set(tmp_path, good)
    labels = tmp_path / "labels"
    files = {"utf16": good.encode("utf-16"), "page": b"<html>", "run": (good * 100).encode()}
    files |= {"latin": f"{good}\nM\u00e4dchen".encode("latin-1"), "zeros": b"\x00" * 9}
    for name in (*files, "folder", "link"):
        Image.new("RGB", (64, 48), (len(name), 1, 0)).save(tmp_path / "images" / f"{name}.png")
    for name, content in files.items():
        (labels / f"{name}.txt").write_bytes(content)
    (labels / "folder.txt").mkdir()
    (labels / "link.txt").symlink_to("nowhere")
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images")
    report = check_dataset({"train": sources})
    assert report.counts["malformed_label_file"] == 4  # two of text without a line, fault 27
    assert report.counts["odd_label_encoding"] == 2
    assert report.counts["malformed_line"] == 3
    assert report.counts["missing_label_file"] == 2
    assert (report.images, report.annotations) == (9, 3)


def test_kitti_folders_are_read_by_processes_with_one_result(tmp_path):
    """Findings do not depend on who reads the labels."""
    sources = kitti_set(tmp_path, KITTI_LINE.format("person"), "person 0 0", "")
    for number in range(2, 8):
        Image.new("RGB", (64, 48), (number, 0, 0)).save(tmp_path / "images" / f"{number}.png")
    alone = check_dataset({"train": sources}, CheckOptions(workers=1))
    parallel = CheckOptions(workers=2, labels_a_chunk=1)  # eight chunks are worth two processes
    assert check_dataset({"train": sources}, parallel) == alone
    assert alone.counts == {"malformed_line": 1, "missing_label_file": 7}


def test_kitti_classes_without_a_mapping_are_noted(tmp_path):
    """Nothing is left out but DontCare; a class that convert has no target for is said."""
    lines = [KITTI_LINE.format(name) for name in ("person", "Car", "DontCare")]
    sources = kitti_set(tmp_path, *lines)
    (tmp_path / "labels/1.txt").touch()
    report = check_dataset({"train": sources})
    assert report.counts == {"dont_care": 1, "image_without_objects": 1, "unlisted_class": 1}
    assert report.findings[-1].locations == ("class Car: 1",)
    assert report.exit_status == 0


def conversion(**options):
    return ConvertConfig(results_dir="unused", **options)


@pytest.mark.parametrize("label_format", ["yolo_to_coco", "voc_to_coco"])
def test_labels_of_a_conversion_are_checked_by_its_own_reader(tmp_path, label_format):
    """Counts are those of the conversion; missing labels are named though it would stop there."""
    for stem in ("0", "1"):
        Image.new("RGB", (64, 48), (int(stem), 0, 0)).save(tmp_path / f"{stem}.png")
    (tmp_path / "0.txt").write_text("0 0.5 0.5 0.2 0.2\n7 0.5 0.5 0.2 0.2\n")
    box = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    found = f"<object><name>cat</name><bndbox>{box}</bndbox></object>"
    (tmp_path / "0.xml").write_text(f"<annotation><object/>{found}</annotation>")
    (tmp_path / "names.txt").write_text("cat\n")
    config = conversion(
        format=label_format,
        input_source=tmp_path,
        classmap=tmp_path / "names.txt" if label_format == "yolo_to_coco" else None,
        missing_labels="error",
    )
    report = check_conversion(config)
    fault = "unknown_class_number" if label_format == "yolo_to_coco" else "malformed_line"
    assert report.counts[fault] == 1
    assert report.counts["missing_label_file"] == 1
    assert report.images == 2
    with pytest.raises(FileNotFoundError, match="label file"):
        convert(config)


def test_json_of_a_conversion_is_checked_with_the_images_that_are_named(made):
    """Without data_root there are no images to look for."""
    json_file = made.json_files["train"]
    (made.image_dirs["train"] / "000001.jpg").unlink()
    known = conversion(
        format="coco_to_yolo", input_source=json_file, data_root=made.image_dirs["train"]
    )
    assert check_conversion(known).counts["missing_image"] == 1
    report = check_conversion(known.model_copy(update={"data_root": None}))
    assert (report.images, report.exit_status) == (0, 0)
    with pytest.raises(DataError, match="input_source"):
        check_conversion(conversion())


def test_report_as_json_and_as_rows(made):
    """to_dict survives JSON; rows are texts, the worst finding first."""
    (made.image_dirs["train"] / "000001.jpg").unlink()
    Image.new("L", (64, 48)).save(made.image_dirs["train"] / "000002.jpg")
    report = check_dataset(sources_of(made))
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["exit_status"] == 2
    assert plain["findings"][0]["fault"] == "missing_image"
    assert plain["findings"][0]["action"] == "refuse"
    rows = report.rows()
    assert [row[0] for row in rows] == sorted(
        (row[0] for row in rows), key=["error", "warning", "note"].index
    )
    assert all(isinstance(cell, str) for row in rows for cell in row)


def test_long_lists_are_cut_in_rows_only():
    """A table cell stays short, the JSON keeps the whole text."""
    log = CheckLog("a.json")
    log.refuse("unusable_json", "x" * 1000)
    report = CheckReport(log.findings(), 0, 0)
    assert len(report.rows()[0][4]) < 300
    assert len(report.to_dict()["findings"][0]["places"][0]) == 1000


def test_unknown_fault_names_are_mistakes_of_the_code():
    """A fault without a rule cannot be logged."""
    with pytest.raises(KeyError, match="no known fault"):
        CheckLog().add("typo", "somewhere")


def test_every_rule_of_loading_and_converting_is_in_the_table():
    """check knows all their faults, with the same action unless images may be skipped."""
    for name, rule in {**LABEL_FILE_RULES, **RULES}.items():
        allowed = {rule.action, "refuse"} if name.endswith("_image") else {rule.action}
        assert CHECK_RULES[name].action in allowed


def test_refusing_log_stops_where_a_looking_one_goes_on():
    """The same call raises while loading and is noted while checking."""
    with pytest.raises(DataError, match="a sentence"):
        FaultLog().refuse("no_images", "a sentence")
    log = CheckLog("a.json")
    log.refuse("no_images", "a sentence")
    assert [(one.fault, one.locations) for one in log.findings()] == [
        ("no_images", ("a sentence",))
    ]


def test_documented_rules_are_those_of_the_code():
    """docs/data-rules.md holds the table that the code gives."""
    document = Path(__file__).parents[3] / "docs" / "data-rules.md"
    if not document.is_file():
        pytest.skip("the repository's docs/ are not here")
    assert rules_table() in document.read_text(encoding="utf-8")
