"""Conversion and checks on real data sets; skipped where these are not at hand."""

import json
from collections import Counter

from ddetr_data.check import CheckOptions, check_dataset
from ddetr_data.config import DataSource
from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import convert


def boxes_by_image(tables):
    """(file name, class name, box) of every object, as a multiset."""
    found = Counter()
    for table in tables:
        files = {row["id"]: row["file_name"].rpartition("/")[2] for row in table["images"]}
        names = {row["id"]: row["name"] for row in table["categories"]}
        for row in table["annotations"]:
            box = tuple(round(side, 2) for side in row["bbox"])
            found[files[row["image_id"]], names[row["category_id"]], box] += 1
    return found


def test_blood_cells_in_kitti_become_the_coco_labels(shared_data, tmp_path):
    """The set has both formats: converting the one gives the other, box by box."""
    folder = shared_data / "bccd"
    (tmp_path / "map.json").write_text(json.dumps({n: n for n in ("RBC", "WBC", "Platelets")}))
    summary = convert(
        ConvertConfig(
            input_source=folder,
            image_dir_name="images/val",
            label_dir_name="kitti/val/label_2",
            mapping_path=tmp_path / "map.json",
            results_dir=tmp_path / "out",
            num_shards=4,
        )
    )
    converted = [json.loads(path.read_text()) for path in summary.folds[0].json_files]
    published = json.loads((folder / "annotations/instances_val.json").read_text())
    assert boxes_by_image(converted) == boxes_by_image([published])
    assert summary.images == len(published["images"])


def test_real_sets_are_usable(shared_data):
    """The published splits hold nothing that loading would refuse, and have no image in common."""
    folder = shared_data / "bccd"
    splits = {
        split: [
            DataSource(
                image_dir=folder / "images" / split,
                json_file=folder / "annotations" / f"instances_{split}.json",
            )
        ]
        for split in ("train", "val", "test")
    }
    report = check_dataset(splits, CheckOptions(num_classes=4, num_queries=300))
    assert report.exit_status < 2
    assert report.images == 364
    assert "same_image_in_splits" not in report.counts


def test_permissive_coco_keeps_its_gaps_and_crowds(shared_data):
    """Gaps in the category ids and crowds are notes: the set can be trained on as it is."""
    folder = shared_data / "coco_permissive"
    source = DataSource(
        image_dir=folder / "images/train", json_file=folder / "annotations/instances_train.json"
    )
    report = check_dataset({"train": [source]}, CheckOptions(num_classes=91, decode=False))
    assert report.exit_status < 2
    assert report.counts["crowd"] > 0
    assert report.counts["category_id_gaps"] == 10
