"""Converting KITTI folders to COCO shards: nothing twice, nothing lost without a word."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import convert
from ddetr_data.faults import DataError
from ddetr_data.formats import KittiObject, format_kitti_line

SIZE_WH = (64, 48)


def line(name="person", box=(4, 5, 20.5, 30.25), score=None):
    return format_kitti_line(KittiObject(name, box, score=score))


def add(folder: Path, stem: str, *lines: str, ending=".jpg", label=True) -> None:
    """One image and its label file in a sequence folder."""
    for name in ("images", "labels"):
        (folder / name / stem).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE_WH).save(folder / "images" / f"{stem}{ending}")
    if label:
        (folder / "labels" / f"{stem}.txt").write_text("".join(f"{text}\n" for text in lines))


def run(folder: Path, sequences, images_a_chunk=1000, **options):
    """Convert the sequences of `folder` to folder/out."""
    source = folder / "sequence.txt"
    source.write_text("\n".join(sequences) + "\n")
    defaults = {
        "input_source": source,
        "results_dir": folder / "out",
        "image_dir_name": "images",
        "label_dir_name": "labels",
        "workers": 1,
    }
    config = ConvertConfig(**{**defaults, **options})
    return convert(config, images_a_chunk=images_a_chunk)


def tables(summary):
    return [json.loads(path.read_text()) for fold in summary.folds for path in fold.json_files]


def rows(summary, key):
    return [row for table in tables(summary) for row in table[key]]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_boxes_come_through_exactly(tmp_path):
    """15 and 16 columns and a name with blanks become the same COCO box, without rounding noise."""
    group = line().replace("person", "person group", 1)
    add(tmp_path / "a", "0", line(box=(10.1, 0.2, 10.4, 0.9)), line(score=0.5), group)
    summary = run(tmp_path, ["a"])
    found = rows(summary, "annotations")
    assert [row["bbox"] for row in found] == [[10.1, 0.2, 0.3, 0.7], *[[4, 5, 16.5, 25.25]] * 2]
    assert [row["category_id"] for row in found] == [1, 1, 1]
    assert found[1]["area"] == 16.5 * 25.25
    assert rows(summary, "images")[0] == {
        "id": 1,
        "file_name": "images/0.jpg",
        "width": 64,
        "height": 48,
    }


def test_default_mapping_and_reverse_alphabetical_ids(tmp_path):
    """The page's 15 names map to person 1, face 2, bag 3, also ignoring case."""
    people = ["Person", "person", "Rider", "rider", "person_group", "PERSON_GROUP"]
    bags = [
        "backpack",
        "large_bag",
        "personal_bag",
        "rolling_bag",
        "rollingbag",
        "largebag",
        "personalbag",
    ]
    names = [*people, "Person Group", "person group", "face", *bags]
    add(tmp_path / "a", "0", *(line().replace("person", name, 1) for name in names))
    summary = run(tmp_path, ["a"])
    assert summary.kept == {"person": 8, "face": 1, "bag": 7}
    assert {category.name: category.id for category in summary.categories} == {
        "person": 1,
        "face": 2,
        "bag": 3,
    }
    assert summary.classmap.read_text() == "person\nface\nbag\n"


@pytest.mark.parametrize("num_shards", [1, 3, 7, 32])
def test_every_image_is_in_exactly_one_shard(tmp_path, num_shards):
    """Shard sizes differ by one at most, also with more shards than images; ids count from 1."""
    for number in range(8):
        add(tmp_path / "a", f"{number}", line(), line("face"))
    summary = run(tmp_path, ["a"], num_shards=num_shards)
    sizes = [len(table["images"]) for table in tables(summary)]
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == min(num_shards, 8)
    assert [row["id"] for row in rows(summary, "images")] == list(range(1, 9))
    assert [row["id"] for row in rows(summary, "annotations")] == list(range(1, 17))
    assert len({row["file_name"] for row in rows(summary, "images")}) == 8


def test_second_run_gives_the_same_bytes_and_removes_old_shards(tmp_path):
    """Running again changes nothing; another shard count leaves no shard of the first behind."""
    for number in range(5):
        add(tmp_path / "a", f"{number}", line())
    run(tmp_path, ["a"], num_shards=4)
    first = contents(tmp_path / "out")
    run(tmp_path, ["a"], num_shards=4)
    assert contents(tmp_path / "out") == first
    summary = run(tmp_path, ["a"], num_shards=2)
    assert sorted(tmp_path.glob("out/*.json")) == sorted(summary.folds[0].json_files)


def test_processes_give_what_one_process_gives(tmp_path):
    """The output does not depend on the number of workers."""
    for number in range(9):
        add(tmp_path / "a", f"{number}", line(), "broken")
    run(tmp_path, ["a"], workers=1)
    alone = contents(tmp_path / "out")
    run(tmp_path, ["a"], workers=2, images_a_chunk=1)
    assert contents(tmp_path / "out") == alone


def test_a_disk_without_room_leaves_the_old_output_whole(tmp_path, largest_file):
    """An end in the middle of writing changes no file, and the next run works."""
    for number in range(4):
        add(tmp_path / "a", f"{number}", line())
    run(tmp_path, ["a"], num_shards=2)
    before = contents(tmp_path / "out")
    add(tmp_path / "a", "4", line())

    with largest_file(100), pytest.raises(OSError, match=r"File too large: '.*out'"):
        run(tmp_path, ["a"], num_shards=2)
    assert contents(tmp_path / "out") == before
    assert run(tmp_path, ["a"], num_shards=2).images == 5


def test_leftovers_of_a_killed_run_are_removed(tmp_path):
    """Half files of a run that could not clean up are gone after the next one."""
    add(tmp_path / "a", "0", line())
    (tmp_path / "out/.unfinished").mkdir(parents=True)
    (tmp_path / "out/.unfinished/half.json").write_text('{"images": [')
    run(tmp_path, ["a"])
    assert sorted(contents(tmp_path / "out")) == [
        "classmap.txt",
        "faults.csv",
        "fold-000-of-001-shard-00000-of-00001.json",
    ]


def test_messy_list_reads_like_a_clean_one(tmp_path):
    """Blank lines, comments, CRLF, trailing slashes, repeated lines and a BOM change nothing."""
    for name in ("x/train", "y/train"):
        add(tmp_path / name, "0", line())
    run(tmp_path, ["x/train", "y/train"])
    clean = contents(tmp_path / "out")
    run(tmp_path, ["\ufeff# all", "x/train/\r", "", "  ", "y/train  \r", "x/train"])
    assert contents(tmp_path / "out") == clean


def test_sequences_with_equal_names_both_stay(tmp_path):
    """Two folders called train keep their parents in the file names, which start at image_dir."""
    for name in ("x/train", "y/train"):
        add(tmp_path / name, "deep/0", line())
    summary = run(tmp_path, ["x/train", "y/train"])
    names = [row["file_name"] for row in rows(summary, "images")]
    assert names == ["x/train/images/deep/0.jpg", "y/train/images/deep/0.jpg"]
    assert all((summary.image_dir / name).is_file() for name in names)


def test_image_kinds_and_exif(tmp_path):
    """Endings are matched ignoring case, one ending can be chosen, and EXIF turns swap the size."""
    add(tmp_path / "a", "0", line(), ending=".PNG")
    add(tmp_path / "a", "1", line(), ending=".jpeg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE_WH).save(tmp_path / "a/images/2.jpg", exif=exif)
    (tmp_path / "a/labels/2.txt").touch()
    found = rows(run(tmp_path, ["a"]), "images")
    sizes = {Path(row["file_name"]).name: (row["width"], row["height"]) for row in found}
    assert sizes == {"0.PNG": (64, 48), "1.jpeg": (64, 48), "2.jpg": (48, 64)}
    assert run(tmp_path, ["a"], image_extension="png").images == 1


def test_empty_label_file_keeps_the_image(tmp_path):
    """An image without objects is training data too."""
    add(tmp_path / "a", "0")
    summary = run(tmp_path, ["a"])
    assert (summary.images, summary.annotations, summary.dropped) == (1, 0, {})


def test_every_fault_is_counted_and_named(tmp_path):
    """Bad lines and boxes are dropped or clipped, counted by class and listed with file:line."""
    lines = [
        line(),
        "person 0 0 0 1 2 3",
        line(box=(30, 5, 4, 30)),
        line(box=(4, 5, 20, 30)).replace("20.00", "NaN"),
        line(box=(70, 5, 90, 30)),
        line(box=(10, 10, 10, 20)),
        line("face", box=(-10, -10, 20, 20)),
        line("Car"),
        line("Car"),
        line("DontCare"),
    ]
    add(tmp_path / "a", "0", *lines)
    (tmp_path / "a/images/1.jpg").write_bytes(b"no image")
    (tmp_path / "a/labels/1.txt").touch()
    add(tmp_path / "a", "2", label=False)
    (tmp_path / "a/labels/orphan.txt").touch()
    summary = run(tmp_path, ["a"], max_dropped=1)
    assert summary.kept == {"person": 1, "face": 1, "bag": 0}
    assert summary.dropped == {
        "malformed_line": {"": 1},
        "inverted_box": {"person": 1},
        "not_finite_box": {"person": 1},
        "outside_box": {"person": 1},
        "zero_box": {"person": 1},
        "unmapped_class": {"Car": 2},
        "dont_care": {"DontCare": 1},
        "unreadable_image": {"": 1},
        "missing_label_file": {"": 1},
        "label_without_image": {"": 1},
    }
    assert summary.repaired == {"clipped_box": {"face": 1}}
    assert rows(summary, "annotations")[1]["bbox"] == [0, 0, 20, 20]
    listed = summary.faults_file.read_text()
    assert "labels/0.txt:2,malformed_line," in listed
    assert "labels/0.txt:3,inverted_box,person" in listed
    assert json.loads(json.dumps(summary.to_dict()))["dropped"]["unmapped_class"] == {"Car": 2}


def test_strict_refuses_what_would_be_dropped(tmp_path):
    """strict stops with the counts, writes nothing, and lets DontCare pass."""
    add(tmp_path / "a", "0", line("Car"), line("DontCare"))
    with pytest.raises(DataError, match="1 x unmapped_class Car"):
        run(tmp_path, ["a"], strict=True)
    assert not (tmp_path / "out").exists()
    add(tmp_path / "a", "0", line(), line("DontCare"))
    assert run(tmp_path, ["a"], strict=True).annotations == 1


@pytest.mark.parametrize(("policy", "images"), [("skip", 1), ("empty", 2), ("error", None)])
def test_missing_label_file_follows_the_policy(tmp_path, policy, images):
    """The image is left out, kept without objects, or an error; never silently."""
    add(tmp_path / "a", "0", line())
    add(tmp_path / "a", "1", label=False)
    if images is None:
        with pytest.raises(FileNotFoundError, match=r"labels/1\.txt"):
            run(tmp_path, ["a"], missing_labels=policy)
        return
    summary = run(tmp_path, ["a"], missing_labels=policy)
    assert summary.images == images
    counted = summary.dropped if policy == "skip" else summary.repaired
    assert counted == {"missing_label_file": {"": 1}}


def test_validation_split_keeps_fold_numbers(tmp_path):
    """Fold 0 has val_split percent, fold 1 the rest, also when fold 0 is empty."""
    for number in range(10):
        add(tmp_path / "a", f"{number}", line())
    summary = run(tmp_path, ["a"], val_split=20, num_shards=1)
    assert [fold.images for fold in summary.folds] == [2, 8]
    summary = run(tmp_path, ["a"], val_split=0, num_shards=1)
    assert [fold.images for fold in summary.folds] == [0, 10]
    assert [path.name for path in sorted(tmp_path.glob("out/*.json"))] == [
        "fold-001-of-002-shard-00000-of-00001.json"
    ]


def test_partitions_are_disjoint_and_complete(tmp_path):
    """Three folds of ten images have 3 or 4 each and none in common."""
    for number in range(10):
        add(tmp_path / "a", f"{number}", line())
    summary = run(tmp_path, ["a"], num_partitions=3, num_shards=2)
    assert sorted(fold.images for fold in summary.folds) == [3, 3, 4]
    assert Counter(row["file_name"] for row in rows(summary, "images")).most_common(1)[0][1] == 1


def test_sequences_stay_together(tmp_path):
    """With partition_mode sequence no recording is in two folds."""
    for name, count in (("a", 4), ("b", 3), ("c", 2), ("d", 2)):
        for number in range(count):
            add(tmp_path / name, f"{number}", line())
    summary = run(tmp_path, ["a", "b", "c", "d"], num_partitions=2, partition_mode="sequence")
    folds = [
        {
            row["file_name"][0]
            for path in fold.json_files
            for row in json.loads(path.read_text())["images"]
        }
        for fold in summary.folds
    ]
    assert folds[0].isdisjoint(folds[1])
    assert folds[0] | folds[1] == set("abcd")
    assert [fold.images for fold in summary.folds] in ([6, 5], [5, 6])


def test_ground_truth_scores_one_against_itself(tmp_path):
    """Ids from 1 over all shards: pycocotools gives AP 1.0 when the labels are the detections."""
    rng = np.random.default_rng(0)
    for number in range(6):
        corner = rng.uniform(0, 20, 2)
        add(tmp_path / "a", f"{number}", line(box=(*corner, *(corner + 15))), line("face"))
    summary = run(tmp_path, ["a"], num_shards=3)
    truth = COCO()
    truth.dataset = {key: rows(summary, key) for key in ("images", "annotations")}
    truth.dataset["categories"] = tables(summary)[0]["categories"]
    truth.createIndex()
    found = truth.loadRes([{**row, "score": 1.0} for row in truth.dataset["annotations"]])
    scores = COCOeval(truth, found, "bbox")
    scores.evaluate()
    scores.accumulate()
    scores.summarize()
    assert scores.stats[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"image_dir_name": "photos"}, FileNotFoundError, "image folder .*photos"),
        ({"label_dir_name": "annos"}, FileNotFoundError, "label folder .*annos"),
        ({"mapping_path": "nowhere.json"}, FileNotFoundError, r"nowhere\.json"),
        ({"input_source": "nowhere.txt"}, FileNotFoundError, r"nowhere\.txt"),
        ({"input_source": None}, DataError, "input_source"),
        ({"image_extension": ".webp"}, DataError, "no image"),
        ({"data_root": "elsewhere"}, FileNotFoundError, "sequence folder .*elsewhere"),
    ],
)
def test_wrong_paths_are_one_clear_error(tmp_path, options, error, text):
    """What is missing is named, and nothing is written."""
    # fault 20
    add(tmp_path / "a", "0", line())
    with pytest.raises(error, match=text):
        run(tmp_path, ["a"], **options)
    assert not (tmp_path / "out").exists()


def test_val_split_and_three_partitions_disagree():
    """The config refuses what cannot be meant, naming both keys."""
    with pytest.raises(ValueError, match=r"val_split.*num_partitions"):
        ConvertConfig(val_split=20, num_partitions=3)


@pytest.mark.parametrize("policy", ["skip", "empty", "error"])
def test_unreadable_label_file_follows_the_policy_of_missing_ones(tmp_path, policy):
    """An image whose objects nobody can tell is no background, unless that is asked for."""
    add(tmp_path / "a", "0", line())
    add(tmp_path / "a", "1", line())
    (tmp_path / "a/labels/1.txt").write_bytes(b"\x89PNG\x00")
    if policy == "error":
        with pytest.raises(DataError, match=r"1\.txt cannot be read"):
            run(tmp_path, ["a"], missing_labels=policy)
        return
    summary = run(tmp_path, ["a"], missing_labels=policy)
    counts = {"malformed_label_file": {"": 1}}
    expected = (1, counts, {}) if policy == "skip" else (2, {}, counts)
    assert (summary.images, summary.dropped, summary.repaired) == expected


def test_normalised_boxes_are_dropped(tmp_path):
    """As in COCO files: a box inside the first pixel is normalised."""
    add(tmp_path / "a", "0", line(box=(0.1, 0.2, 0.5, 0.6)), line())
    assert run(tmp_path, ["a"]).dropped == {"normalised_box": {"person": 1}}


def test_a_class_list_among_the_labels_is_no_label(tmp_path):
    """Labelling tools keep classes.txt there; strict has nothing against it."""
    add(tmp_path / "a", "0", line())
    (tmp_path / "a/labels/classes.txt").write_text("person\n")
    assert run(tmp_path, ["a"], strict=True).dropped == {}


def test_a_mapping_that_contradicts_itself_is_refused(tmp_path):
    """JSON would keep the second of two equal keys without a word."""
    add(tmp_path / "a", "0", line())
    (tmp_path / "map.json").write_text('{"person": "human", "person": "someone"}')
    with pytest.raises(DataError, match="'person' stands there twice"):
        run(tmp_path, ["a"], mapping_path=tmp_path / "map.json")
