"""Class tables of training data, validation data and first weights, compared or mapped by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from ddetr_data.config import DatasetConfig, DataSource
from ddetr_model import DeformableDETR, load_checkpoint, save_checkpoint
from ddetr_train import TrainConfig
from ddetr_train.engine import PreparedTraining, prepare_training

FAST = {"num_epochs": 1, "accelerator": "cpu", "activation_checkpoint": False}
SHAPES = ("circle", "square", "triangle")
TURNED = SHAPES[::-1]
HEAD = "class_embed.0.weight"


@pytest.fixture
def numbered(synthetic, dataset, tmp_path: Path) -> Callable[..., DataSource]:
    """A split whose classes have other ids; its objects stay what they are."""

    def source(split: str, names: Sequence[str]) -> DataSource:
        content = json.loads(synthetic.json_files[split].read_text())
        before = {row["id"]: row["name"] for row in content["categories"]}
        ids = {name: number for number, name in enumerate(names, start=1)}
        for row in content["annotations"]:
            row["category_id"] = ids[before[row["category_id"]]]
        content["categories"] = [{"id": id, "name": name} for name, id in ids.items()]
        labels = tmp_path / f"{split}-{'-'.join(names)}.json"
        labels.write_text(json.dumps(content))
        return DataSource(image_dir=str(synthetic.image_dirs[split]), json_file=str(labels))

    return source


@pytest.fixture
def prepared(model_config, recorder, tmp_path) -> Callable[..., PreparedTraining]:
    """A training before its first step."""

    def prepare(data: DatasetConfig, **options: object) -> PreparedTraining:
        config = TrainConfig.model_validate(FAST | options)
        return prepare_training(model_config, data, config, tmp_path / "run", observers=[recorder])

    return prepare


@pytest.fixture
def pretrained(model_config, tmp_path) -> Callable[..., Path]:
    """Weights of a model of as many classes, whose head has a row of its id for each of them."""

    def write(names: Sequence[str]) -> Path:
        network = DeformableDETR(model_config)
        with torch.no_grad():
            for id in range(model_config.num_classes):
                network.class_embed[0].weight[id] = id
        rows = [{"id": id, "name": name} for id, name in enumerate(names, start=1)]
        save_checkpoint(network, tmp_path / "first.pth", categories=rows)
        return tmp_path / "first.pth"

    return write


def rows_of_head(training: PreparedTraining) -> list[float]:
    assert training.module is not None
    weight = training.module.model.state_dict()[HEAD]
    return [float(row.unique()) if len(row.unique()) == 1 else -1.0 for row in weight]


def test_validation_in_another_order_is_refused(prepared, dataset, numbered) -> None:
    """It would be scored, and best checkpoint and early stopping would follow."""
    # fault 21
    data = dataset.model_copy(update={"val_data_sources": (numbered("val", TURNED),)})
    sentence = (
        "class names differ: id 1 is 'circle' in the training data and 'triangle' in the "
        "validation data; id 3: 'triangle' and 'circle'; .* match_classes"
    )
    with pytest.raises(ValueError, match=sentence):
        prepared(data)


def test_validation_in_another_order_is_mapped_by_name(
    prepared, dataset, numbered, recorder, caplog
) -> None:
    """Its objects are those of the set with training's ids, and that is told."""
    # fault 21
    plain = prepared(dataset).setup.data.val_set
    update = {"val_data_sources": (numbered("val", TURNED),), "match_classes": "name"}
    mapped = prepared(dataset.model_copy(update=update)).setup.data.val_set
    assert mapped.categories == plain.categories
    assert mapped.to_coco() == plain.to_coco()
    assert "is mapped by its name: 2 repaired" in caplog.text


def test_a_part_of_the_classes_validates_and_more_are_told(
    prepared, dataset, numbered, recorder
) -> None:
    """Validation may lack a class; one that training lacks is missed, which a notice says."""
    # fault 21
    source = numbered("val", SHAPES)
    labels = Path(source.json_file[0])
    content = json.loads(labels.read_text())
    content["annotations"] = [row for row in content["annotations"] if row["category_id"] != 3]
    data = dataset.model_copy(update={"val_data_sources": (source,)})
    for categories, told in (
        (content["categories"][:2], ""),
        (
            [*content["categories"], {"id": 0, "name": "star"}],
            "id 0 is absent in the training data",
        ),
    ):
        labels.write_text(json.dumps(content | {"categories": categories}))
        prepared(data)
        assert ("differ" in recorder.text()) == bool(told)
        assert told in recorder.text()


def test_weights_of_another_order_are_refused(prepared, dataset, pretrained) -> None:
    """Training would begin with the head of another class, in silence."""
    # fault 21
    with pytest.raises(ValueError, match=r"id 1 is 'circle' in the training .* pretrained model"):
        prepared(dataset, pretrained_model_path=pretrained(TURNED))


def test_heads_are_moved_by_name(prepared, dataset, pretrained, recorder) -> None:
    """Each class gets its own row; one that the weights lack starts anew, ids of none stay."""
    # fault 21
    data = dataset.model_copy(update={"match_classes": "name"})
    path = pretrained(("triangle", "Square", "disc"))
    training = prepared(data, pretrained_model_path=path)
    assert rows_of_head(training) == [0, -1, 2, 1]
    assert "1 class heads of the pretrained model are moved by name" in recorder.text()
    assert "not in the pretrained model, started anew: circle" in recorder.text()


def test_weights_of_other_classes_may_be_tuned(prepared, dataset, pretrained, recorder) -> None:
    """No name has another id: it is another task, and a notice says what the ids were."""
    # fault 21
    prepared(dataset, pretrained_model_path=pretrained(("a", "b", "c")))
    assert "id 1 is 'circle' in the training data and 'a' in the pretrained" in recorder.text()
    recorder.events.clear()
    prepared(dataset, pretrained_model_path=pretrained(()))
    assert "differ" not in recorder.text()


def test_a_resumed_run_compares_its_validation_set(run_training, dataset, numbered) -> None:
    """Another one that numbers its classes otherwise is refused, also when nothing is left."""
    # fault 21
    result = run_training(**FAST)
    data = dataset.model_copy(update={"val_data_sources": (numbered("val", TURNED),)})
    for epochs in (1, 2):
        with pytest.raises(ValueError, match="class names differ: id 1 is 'circle'"):
            run_training(**FAST | {"num_epochs": epochs}, data=data)
    assert load_checkpoint(result.latest_checkpoint).metadata.categories[0]["name"] == "circle"
    mapped = data.model_copy(update={"match_classes": "name"})
    assert run_training(**FAST | {"num_epochs": 2}, data=mapped).epochs == 2


def test_a_training_set_that_is_mostly_dropped_is_refused(
    prepared, dataset, synthetic, tmp_path
) -> None:
    """The reason and its first row are named; more may be allowed, but not the loss of all."""
    # fault 26
    content = json.loads(synthetic.json_files["train"].read_text())
    labels = tmp_path / "train.json"
    source = DataSource(image_dir=str(synthetic.image_dirs["train"]), json_file=str(labels))
    data = dataset.model_copy(update={"train_data_sources": (source,)})
    for row in content["annotations"][1:]:
        left, top, width, height = row["bbox"]
        row["bbox"] = {"x": left, "y": top, "width": width, "height": height}
    labels.write_text(json.dumps(content))
    lost = len(content["annotations"]) - 1
    sentence = (
        f"the training data: {lost} of {lost + 1} objects are dropped, more than max_dropped 0.5 "
        f"allows: bbox is not four numbers: {lost} \\(first: .*train.json, annotation"
    )
    with pytest.raises(ValueError, match=sentence):
        prepared(data)
    prepared(data.model_copy(update={"max_dropped": 1.0}))
    content["annotations"][0]["bbox"] = None
    labels.write_text(json.dumps(content))
    for kind in ("serialized", "default"):
        update = {"max_dropped": 1.0, "dataset_type": kind}
        with pytest.raises(ValueError, match="the training data: no object is left: "):
            prepared(data.model_copy(update=update))
        validated = dataset.model_copy(update=update | {"val_data_sources": (source,)})
        with pytest.raises(ValueError, match="the validation data: no object is left: "):
            prepared(validated)
