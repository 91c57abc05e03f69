"""Regions to ignore: read, written, trained around and scored as neither true nor false."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ddetr_data.check import CheckOptions, check_conversion, check_dataset
from ddetr_data.coco import DetectionSet, load_sources
from ddetr_data.config import DataSource
from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import ConvertSummary, convert
from ddetr_data.loading import open_sources, store_key
from ddetr_data.scoring import CocoScorer, confusion_table
from ddetr_data.types import Detections

# fault 22
OBJECT = """<object><name>{}</name><difficult>{}</difficult>
<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"""
KITTI = "{} 0.00 0 0.00 {} 0 0 0 0 0 0 0\n"


@pytest.fixture
def marked(content: Any, write_source: Any) -> DataSource:
    """Two images with two objects each; the first car is marked, the second person a crowd."""
    first, _, _, last = content["annotations"]
    first["ignore"], last["iscrowd"] = 1, 1
    return write_source(content)


def load(source: DataSource, **options: Any) -> DetectionSet:
    return load_sources([source], num_classes=None, **options)


def test_marked_objects_are_objects_by_default_and_told(
    marked: DataSource, caplog: pytest.LogCaptureFixture
) -> None:
    """As before there were regions; how many are marked is counted."""
    loaded = load(marked)
    assert [record.is_crowd.tolist() for record in loaded.images] == [[False, False], [False, True]]
    assert not any(record.is_region.any() for record in loaded.images)
    assert loaded.faults["marked_ignore"] == 1
    assert "marked to be ignored" in caplog.text


@pytest.mark.parametrize("value", [1, True, "1", 1.0])
def test_marked_objects_are_regions_where_that_is_asked_for(
    content: Any, write_source: Any, value: Any
) -> None:
    """Of their class, and a crowd to whoever knows no regions; crowds stay crowds alone."""
    content["annotations"][0]["ignore"] = value
    content["annotations"][1]["ignore"] = 0
    content["annotations"][3]["iscrowd"] = 1
    first, second = load(write_source(content), ignore_regions=True).images
    assert first.is_region.tolist() == first.is_crowd.tolist() == [True, False]
    assert first.labels.tolist() == [1, 2]
    assert (second.is_region.tolist(), second.is_crowd.tolist()) == ([False] * 2, [False, True])


def test_a_store_keeps_regions_and_sets_without_apart(marked: DataSource, tmp_path: Path) -> None:
    """The same labels read in both ways are two stores."""
    for wanted in (False, True, False, True):
        stored = open_sources([marked], num_classes=None, cache_dir=tmp_path, ignore_regions=wanted)
        assert [record.is_region.any() for record in stored.images] == [wanted, False]
    keys = {store_key([marked], "error", ignore_regions=wanted) for wanted in (False, True)}
    assert len(keys) == 2


def test_a_set_with_regions_reads_back(marked: DataSource, write_source: Any) -> None:
    """They are written as `ignore` and as crowds, which every reader of COCO knows."""
    loaded = load(marked, ignore_regions=True)
    table = loaded.to_coco()
    assert [(row["iscrowd"], row.get("ignore")) for row in table["annotations"]] == [
        (1, 1), (0, None), (0, None), (1, None),
    ]  # fmt: skip
    again = load(write_source(table, "again"), ignore_regions=True)
    for one, other in zip(loaded.images, again.images, strict=True):
        assert one.is_region.tolist() == other.is_region.tolist()


@pytest.mark.parametrize("by", ["pycocotools", "faster"])
def test_a_detection_in_a_region_is_neither_true_nor_false(marked: DataSource, by: Any) -> None:
    """By both judges as by pycocotools itself, and only for the region's class."""
    if by == "faster":
        pytest.importorskip("faster_coco_eval")
    loaded = load(marked, ignore_regions=True)
    table = loaded.to_coco()
    objects = [row for row in table["annotations"] if not row["iscrowd"]]
    small = [6.0, 5.0, 4.0, 3.0]  # inside of the region
    rows: list[Any] = [
        {**{key: row[key] for key in ("image_id", "category_id", "bbox")}, "score": 0.5}
        for row in objects
    ]
    for label, expected in ((1, 1.0), (2, 0.5)):
        stray = {"image_id": 1, "category_id": label, "bbox": small, "score": 0.9}
        scorer = CocoScorer(loaded, judge=by)
        scorer.add_results([*rows, stray])
        scores = scorer.score()
        name = {1: "car", 2: "person"}[label]
        assert scores.per_class[name]["AP"] == pytest.approx(expected)
        truth = COCO()
        truth.dataset = table
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes([*rows, stray]), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
        ours = np.nan_to_num(list(scores.overall.values()), nan=-1.0)
        np.testing.assert_array_equal(ours, run.stats)


def test_a_confusion_table_leaves_regions_out(marked: DataSource) -> None:
    """A detection in one counts nowhere."""
    loaded = load(marked, ignore_regions=True)
    box = np.array([[6.0, 5.0, 10.0, 8.0]], np.float32)
    found = {1: Detections(box, np.array([0.9], np.float32), np.array([1]))}
    counts = confusion_table(loaded, found).counts
    assert counts[-1].tolist() == [0, 0, 0]  # nothing was invented
    assert counts[:, -1].tolist() == [1, 1, 0]  # and the two other objects were missed


def test_targets_have_regions_beside_their_objects(marked: DataSource) -> None:
    """Cut, resized and mirrored with the image, in an image that has any."""
    torch = pytest.importorskip("torch")
    from ddetr_data.config import AugmentationConfig
    from ddetr_data.torch import DetectionDataset, TrainTransform, View

    loaded = load(marked, ignore_regions=True)
    transform = TrainTransform(AugmentationConfig())
    whole = View(0, 0, 30, 40, (60, 80))
    part = View(0, 0, 30, 20, (60, 40), mirrored=True)  # the left half
    expected = {whole: [0.25, 8 / 30, 0.25, 8 / 30], part: [0.5, 8 / 30, 0.5, 8 / 30]}
    for view, box in expected.items():
        show = partial_show(transform, view)
        dataset = DetectionDataset(loaded, show)
        _, target = dataset[0]
        torch.testing.assert_close(target["regions"], torch.tensor([box]))
        assert target["labels"].tolist() == [2]
        assert len(target["boxes"]) == len(target["area"]) == len(target["iscrowd"]) == 1
        assert "regions" not in dataset[1][1]
    right = View(0, 30, 30, 10, (30, 10))
    assert "regions" not in DetectionDataset(loaded, partial_show(transform, right))[0][1]
    assert "regions" not in DetectionDataset(load(marked), partial_show(transform, whole))[0][1]


def partial_show(transform: Any, view: Any) -> Any:
    """A transform that shows one view."""
    return lambda image, objects, rng: transform.show(view, image, objects)


def voc_config(folder: Path, **options: Any) -> ConvertConfig:
    """An image with a cat and a difficult dog."""
    (folder / "voc").mkdir()
    Image.new("RGB", (64, 48)).save(folder / "voc/1.jpg")
    objects = OBJECT.format("cat", 0, 11, 11, 20, 30) + OBJECT.format("dog", 1, 1, 1, 4, 4)
    (folder / "voc/1.xml").write_text(f"<annotation>{objects}</annotation>")
    return ConvertConfig(
        format="voc_to_coco", input_source=folder / "voc", results_dir=folder / "out", **options
    )


def kitti_config(folder: Path, **options: Any) -> ConvertConfig:
    """An image with a person, a bag and two regions that were not labelled."""
    (folder / "kitti").mkdir()
    Image.new("RGB", (64, 48)).save(folder / "kitti/1.png")
    boxes = ("1 1 9 9", "20 20 30 30", "30 1 60 20", "1 30 20 45")
    names = ("person", "backpack", "DontCare", "dontcare")
    lines = (KITTI.format(name, box) for name, box in zip(names, boxes, strict=True))
    (folder / "kitti/1.txt").write_text("".join(lines))
    return ConvertConfig(input_source=folder / "kitti", results_dir=folder / "out", **options)


def rows_of(summary: ConvertSummary) -> list[dict[str, Any]]:
    """The annotations that were written."""
    ((path,),) = [fold.json_files for fold in summary.folds]
    rows: list[dict[str, Any]] = json.loads(path.read_text())["annotations"]
    return rows


def written(summary: ConvertSummary) -> DataSource:
    """What was written, as a source."""
    ((path,),) = [fold.json_files for fold in summary.folds]
    return DataSource(image_dir=str(summary.image_dir), json_file=str(path))


def test_difficult_objects_of_voc_are_counted_or_regions(tmp_path: Path) -> None:
    """Objects like others unless regions are asked for; their class stays in the table."""
    config = voc_config(tmp_path)
    summary = convert(config)
    assert summary.accepted == {"marked_ignore": {"dog": 1}}
    assert summary.kept == {"dog": 1, "cat": 1}
    assert [row.get("ignore") for row in rows_of(summary)] == [None, None]
    assert check_conversion(config).counts["marked_ignore"] == 1
    config = replace_config(config, ignore_regions=True)
    summary = convert(config)
    assert summary.accepted == {"ignore_region": {"dog": 1}}
    assert summary.kept == {"dog": 0, "cat": 1}
    marks = [(row["category_id"], row.get("ignore"), row["iscrowd"]) for row in rows_of(summary)]
    assert marks == [(2, None, 0), (1, 1, 1)]
    assert check_conversion(config).counts["ignore_region"] == 1


def replace_config(config: ConvertConfig, **changes: Any) -> ConvertConfig:
    return config.model_copy(update=changes)


def test_dont_care_is_a_region_of_every_class(tmp_path: Path) -> None:
    """Written once for each, counted once, and scored and trained as a region."""
    config = kitti_config(tmp_path)
    plain = convert(config)
    assert plain.dropped == {"dont_care": {"DontCare": 1, "dontcare": 1}}
    assert len(rows_of(plain)) == 2
    config = replace_config(config, ignore_regions=True, strict=True)
    summary = convert(config)
    assert summary.dropped == {}
    assert summary.accepted == {"ignore_region": {"DontCare": 1, "dontcare": 1}}
    assert summary.to_dict()["accepted"] == summary.accepted
    assert check_conversion(config).counts["ignore_region"] == 2
    regions = [row for row in rows_of(summary) if row.get("ignore")]
    assert sorted(row["category_id"] for row in regions) == [1, 1, 2, 2, 3, 3]
    loaded = load(written(summary), ignore_regions=True)
    assert loaded.faults["ignore_region"] == 2
    report = check_dataset(
        {"val": [written(summary)]}, CheckOptions(ignore_regions=True, decode=False)
    )
    assert report.counts["ignore_region"] == 2
    assert report.exit_status == 0
    scorer = CocoScorer(loaded)
    (record,) = loaded.images
    objects = record.annotations.keep(~record.is_crowd)
    corners = np.pad(objects.boxes_xywh[:, :2], ((0, 0), (2, 0))) + objects.boxes_xywh
    inside = np.array([[31.0, 2.0, 40.0, 10.0]] * 3)
    boxes = np.concatenate([inside, corners]).astype(np.float32)
    scores = np.linspace(0.9, 0.5, len(boxes)).astype(np.float32)
    scorer.add(record.id, Detections(boxes, scores, np.array([1, 2, 3, *objects.labels])))
    assert scorer.score().overall["AP"] == pytest.approx(1.0)


def test_regions_become_dont_care_again(tmp_path: Path) -> None:
    """KITTI has its own mark for them; YOLO has none, so there they are dropped and counted."""
    summary = convert(kitti_config(tmp_path, ignore_regions=True))
    source = written(summary)
    config = ConvertConfig(
        format="coco_to_kitti",
        input_source=source.json_file[0],
        data_root=source.image_dir,
        results_dir=tmp_path / "back",
        ignore_regions=True,
    )
    back = convert(config)
    assert back.accepted == {"ignore_region": {"": 2}}
    lines = (tmp_path / "back/labels/1.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["person", "bag", "DontCare", "DontCare"]
    yolo = convert(replace_config(config, format="coco_to_yolo", results_dir=str(tmp_path / "y")))
    assert sum(yolo.dropped["ignore_region"].values()) == 6
    assert len((tmp_path / "y/labels/1.txt").read_text().splitlines()) == 2


def test_a_moved_image_takes_its_regions_along(marked: DataSource) -> None:
    """As its objects, where it is not of the size that the labels state."""
    Image.new("RGB", (80, 60)).save(Path(marked.image_dir) / "1.png")
    stored = open_sources([marked], num_classes=None, dataset_type="default", ignore_regions=True)
    record = stored.images[0]
    assert record.is_region.tolist() == [True, False]
    assert record.boxes_xywh[0].tolist() == [10.0, 8.0, 20.0, 16.0]
    assert replace(record, annotations=record.annotations.keep(record.is_region)).is_crowd.all()
