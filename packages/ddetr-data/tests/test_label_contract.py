"""What a run asks of labels: the classes of another table, and that not too much is dropped."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddetr_data.check import CheckOptions, check_dataset
from ddetr_data.coco import load_sources
from ddetr_data.config import DatasetConfig, DataSource
from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import convert
from ddetr_data.faults import DataError
from ddetr_data.formats import number_categories
from ddetr_data.loading import LabelContract, open_sources, resolve_num_classes

Content = dict[str, Any]
Write = Callable[..., DataSource]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))


def panoptic(content: Content) -> None:
    for row in content["annotations"]:
        segment = {"id": 1, "category_id": row.pop("category_id"), "bbox": row.pop("bbox")}
        row["segments_info"] = [segment]


def boxes_as_objects(content: Content) -> None:
    for row in content["annotations"]:
        row["bbox"] = dict(zip(("x", "y", "w", "h"), row["bbox"], strict=True))


def names_for_ids(content: Content) -> None:
    for row in content["annotations"]:
        row["image_id"] = f"{row['image_id']}.png"


def no_rows(content: Content) -> None:
    content["annotations"] = [[1, 2, 3]]


def outside(content: Content) -> None:
    for row in content["annotations"]:
        row["bbox"] = [500, 500, 10, 10]


ALL_LOST = [
    (panoptic, "an annotation has no category_id: 4"),
    (boxes_as_objects, "bbox is not four numbers: 4"),
    (names_for_ids, "an annotation's image is not in the file: 4"),
    (no_rows, "a row is not a JSON object: 1"),
    (outside, "a box lies outside its image: 4"),
]


@pytest.mark.parametrize(("spoil", "reason"), ALL_LOST)
def test_labels_of_which_nothing_is_left_are_refused(
    spoil, reason, content: Content, write_source: Write, tmp_path: Path
) -> None:
    """At every door, whatever max_dropped says, with the reason and its first row."""
    # fault 26
    spoil(content)
    source = write_source(content)
    contract = LabelContract(max_dropped=1)
    for kind in ("serialized", "default"):
        with pytest.raises(DataError, match=rf"no object is left: .*{reason} \("):
            open_sources([source], num_classes=None, dataset_type=kind, contract=contract)
    report = check_dataset({"train": [source]}, CheckOptions(max_dropped=1))
    assert (report.counts["most_dropped"], report.exit_status) == (1, 2)
    config = ConvertConfig(
        format="coco_to_yolo",
        input_source=source.json_file[0],
        results_dir=tmp_path / "out",
        max_dropped=1,
    )
    with pytest.raises(DataError, match=reason):
        convert(config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("limit", "is_refused"), [(0.5, True), (0.75, False), (0.0, True)])
def test_a_fraction_may_be_dropped(
    limit: float, is_refused: bool, content: Content, write_source: Write
) -> None:
    """Three of four objects; a store that was written under another limit is judged again."""
    # fault 26
    for row in content["annotations"][1:]:
        row["bbox"][2] = -5
    source = write_source(content)
    open_sources([source], num_classes=None, contract=LabelContract(max_dropped=1))
    check = check_dataset({"train": [source]}, CheckOptions(max_dropped=limit))
    assert ("most_dropped" in check.counts) == is_refused
    contract = LabelContract(max_dropped=limit)
    if not is_refused:
        assert len(open_sources([source], num_classes=None, contract=contract).images) == 2
        return
    for _ in range(2):
        with pytest.raises(DataError, match=rf"3 of 4 objects .* max_dropped {limit:g} allows"):
            open_sources([source], num_classes=None, contract=contract)


def test_check_tells_each_split_its_own_reason(content: Content, write_source: Write) -> None:
    """A row of the split, though another has the same fault."""
    # fault 26
    train = copy.deepcopy(content)
    train["annotations"][0]["bbox"] = None
    for row in content["annotations"]:
        row["bbox"] = None
    splits = {"train": [write_source(train, "t")], "val": [write_source(content, "v")]}
    (found,) = (each for each in check_dataset(splits).findings if each.fault == "most_dropped")
    first = f"{splits['val'][0].json_file[0]}, annotation {content['annotations'][0]['id']}"
    assert f"(first: {first}" in found.locations[0]


def test_crowds_and_unwanted_classes_do_not_count(content: Content, write_source: Write) -> None:
    """Only objects of the classes that are scored, which eval_class_ids names."""
    # fault 26
    for row in content["annotations"]:
        row["bbox"][2] = -5 if row["category_id"] == 2 else row["bbox"][2]
    crowds = [{**row, "id": row["id"] + 9, "iscrowd": 1} for row in content["annotations"][1::2]]
    content["annotations"] += crowds * 1
    source = write_source(content)
    for ids, is_refused in (((1,), False), ((2,), True), (None, False)):
        contract = LabelContract(wanted_ids=ids)
        options = CheckOptions(eval_class_ids=ids)
        assert ("most_dropped" in check_dataset({"val": [source]}, options).counts) == is_refused
        if is_refused:
            with pytest.raises(DataError, match="no object is left: "):
                open_sources([source], num_classes=None, contract=contract)
        else:
            open_sources([source], num_classes=None, contract=contract)
    assert "most_dropped" not in check_dataset({"train": [source]}, options).counts


def test_objects_of_images_that_are_left_out_count(content: Content, write_source: Write) -> None:
    """With corrupt_images skip a folder of broken images is no training set."""
    # fault 26
    content["images"] += [
        {"id": number, "file_name": f"{number}.png", "width": 40, "height": 30} for number in (3, 4)
    ]
    content["annotations"] += [
        {**row, "id": 9, "image_id": 3} for row in content["annotations"][:1]
    ]
    source = write_source(content)
    for name in ("1.png", "2.png"):
        (Path(source.image_dir) / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"4 of 5 objects .*an image cannot be read"):
        open_sources([source], num_classes=None, corrupt_images="skip", contract=LabelContract())


def test_num_classes_auto_counts_what_the_run_counts(content: Content, write_source: Write) -> None:
    """Without training data the classes of eval_class_ids, as scoring does."""
    # fault 26
    for row in content["annotations"]:
        row["bbox"] = row["bbox"] if row["category_id"] == 1 else None
    content["annotations"] += [
        {**row, "id": row["id"] + 9, "bbox": None}
        for row in content["annotations"]
        if row["category_id"] == 2
    ]
    dataset = DatasetConfig(test_data_sources=write_source(content), num_classes="auto", workers=0)
    assert resolve_num_classes(dataset.model_copy(update={"eval_class_ids": (1,)})) == 3
    with pytest.raises(DataError, match="4 of 6 objects"):
        resolve_num_classes(dataset)
    trained = dataset.model_copy(update={"train_data_sources": dataset.test_data_sources})
    with pytest.raises(DataError, match="the training data: 4 of 6 objects"):
        resolve_num_classes(trained.model_copy(update={"eval_class_ids": (1,)}))


def test_background_alone_is_no_loss(content: Content, write_source: Write) -> None:
    """Labels without any object are what they say."""
    # fault 26
    content["annotations"] = []
    source = write_source(content)
    assert len(open_sources([source], num_classes=None, contract=LabelContract()).images) == 2


def test_files_of_one_set_may_lack_classes(content: Content, write_source: Write) -> None:
    """The set has the classes of all of them; an id with two names is refused."""
    # fault 21
    other = copy.deepcopy(content)
    content["categories"].append({"id": 3, "name": "bus"})
    sources = [write_source(other, "a"), write_source(content, "b")]
    labelled = load_sources(sources, num_classes=None)
    assert [each.name for each in labelled.categories] == ["car", "person", "bus"]
    assert check_dataset({"train": sources}).exit_status == 1  # ids that both files have
    other["categories"].append({"id": 4, "name": "BUS"})
    sources[0] = write_source(other, "a")
    with pytest.raises(DataError, match="id 4: 'BUS' and absent"):
        load_sources(sources, num_classes=None)
    assert check_dataset({"train": sources}).counts["differing_categories"] == 1


def test_files_of_one_set_are_mapped_by_name(content: Content, write_source: Write) -> None:
    """Onto the first; a class that it does not name is refused, for it would go untrained."""
    # fault 21
    first = write_source(content, "a")
    content["categories"] = [{"id": 1, "name": "Person"}, {"id": 7, "name": "car"}]
    for row in content["annotations"]:
        row["category_id"] = {1: 7, 2: 1}[row["category_id"]]
    sources = (first, write_source(content, "b"))
    dataset = DatasetConfig(
        train_data_sources=sources, match_classes="name", num_classes="auto", workers=0
    )
    assert resolve_num_classes(dataset) == 3
    for kind in ("serialized", "default"):
        labelled = open_sources(
            sources,
            num_classes=3,
            dataset_type=kind,
            contract=LabelContract.of_training(dataset),
        )
        assert [record.labels.tolist() for record in labelled.images] == [[1, 2]] * 4
        assert labelled.faults["renumbered_class"] == 2
    report = check_dataset({"train": sources}, CheckOptions(match_classes="name"))
    assert report.counts["renumbered_class"] == 2
    content["categories"].append({"id": 8, "name": "bus"})
    sources = (first, write_source(content, "b"))
    with pytest.raises(DataError, match=r"has the classes 'bus', which .*does not name"):
        load_sources(sources, num_classes=None, match_classes="name")
    report = check_dataset({"train": sources}, CheckOptions(match_classes="name"))
    assert report.counts["differing_categories"] == 1


def test_objects_of_unmatched_classes_are_left_out_and_counted(
    content: Content, write_source: Write
) -> None:
    """They are not wanted, so that they are no loss; check says the same."""
    # fault 21
    source = write_source(content)
    train = copy.deepcopy(content)
    train["categories"] = [{"id": 5, "name": "person"}]
    train["annotations"] = [row | {"category_id": 5} for row in train["annotations"]]
    contract = LabelContract("name", classes=number_categories(("dog", "person"))[1:])
    labelled = open_sources([source], num_classes=None, contract=contract)
    assert [each.name for each in labelled.categories] == ["person"]
    assert labelled.faults["unmatched_class"] == 2
    contract = LabelContract("name", 0, number_categories(("person",)))
    labelled = open_sources([source], num_classes=2, contract=contract)
    assert [record.labels.tolist() for record in labelled.images] == [[1], [1]]
    splits = {"train": [write_source(train, "t")], "val": [source]}
    report = check_dataset(splits, CheckOptions(match_classes="name"))
    assert (report.counts["unmatched_class"], report.counts["renumbered_class"]) == (2, 1)
    assert "most_dropped" not in report.counts


def test_a_class_that_only_validation_has_is_told(content: Content, write_source: Write) -> None:
    """It is no conflict; the other way round nothing is said."""
    # fault 21
    train = copy.deepcopy(content)
    train["categories"] = train["categories"][:1]
    train["annotations"] = train["annotations"][::2]
    one, both = write_source(train, "t"), write_source(content, "v")
    counts = check_dataset({"train": [one], "val": [both]}).counts
    assert (counts.get("untrained_category"), counts.get("differing_categories")) == (1, None)
    counts = check_dataset({"train": [both], "val": [one]}).counts
    assert (counts.get("untrained_category"), counts.get("differing_categories")) == (None, None)


def test_json_of_a_conversion_is_compared_too(
    content: Content, write_source: Write, tmp_path: Path
) -> None:
    """Two files that number classes differently are refused, or mapped by name."""
    # fault 21
    source = write_source(content)
    content["categories"] = [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}]
    (Path(source.image_dir) / "more.json").write_text(json.dumps(content))
    options = {"format": "coco_to_kitti", "input_source": source.image_dir}
    with pytest.raises(DataError, match="class names differ"):
        convert(ConvertConfig(**options, results_dir=tmp_path / "out"))
    config = ConvertConfig(**options, results_dir=tmp_path / "out", match_classes="name")
    assert convert(config).kept == {"car": 4, "person": 4}
