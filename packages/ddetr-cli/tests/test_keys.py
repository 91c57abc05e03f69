"""What the command says of its keys: help, --help-keys, the template and the JSON Schema."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ddetr_cli.app import main
from ddetr_cli.spec import (
    SUBTASK_KEYS,
    Experiment,
    SpecError,
    SpecTree,
    json_schema,
    known_keys,
    load_spec,
    load_tree,
    parse_spec,
    template,
)
from ddetr_data import ConvertConfig

MAIN_KEYS = 10
# A spec that is read without training data.
LENIENT = {"evaluate", "inference", "export", "gen_trt_engine"}


def ddetr(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def words_of(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("subtask", SUBTASK_KEYS)
def test_help_names_the_keys_that_matter(subtask: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten of them with their defaults, and how to see all."""
    # fault 49
    assert ddetr(subtask, "--help") == 0
    shown = words_of(capsys.readouterr().out)
    rows = SUBTASK_KEYS[subtask].main_rows()
    assert len(rows) == MAIN_KEYS
    assert all(f"{row.name} {row.first_sentence}" in shown for row in rows)
    assert f"ddetr {subtask} --help-keys" in shown


def test_help_shows_the_defaults_of_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """They are read, not written down again."""
    ddetr("train", "--help")
    shown = words_of(capsys.readouterr().out)
    defaults = Experiment().train
    assert f"Passes over the training images. [{defaults.num_epochs}]" in shown
    assert f"[{defaults.optim.lr}]" in shown


def listed(text: str) -> set[str]:
    found = re.findall(r"^ {2}([a-z]\S*) ", text, flags=re.MULTILINE)
    return set(found) - {"key"}


def test_help_keys_lists_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    """All of training's, and of those none twice; the flat ones of `convert`."""
    assert ddetr("train", "--help-keys") == 0
    shown = listed(capsys.readouterr().out)
    names = {".".join(str(key) for key in path if key != 0) for path, _ in known_keys(Experiment)}
    of_training = {
        name
        for name in names
        if name.partition(".")[0] in SUBTASK_KEYS["train"].blocks
        and not any(other.startswith(f"{name}.") for other in names)
    }
    assert shown == of_training
    assert ddetr("convert", "--help-keys") == 0
    assert listed(capsys.readouterr().out) == set(ConvertConfig.model_fields)


def test_help_keys_are_searched(capsys: pytest.CaptureFixture[str]) -> None:
    """By block, by word of the meaning, by several words; none found is one sentence."""
    ddetr("train", "--help-keys", "train.optim")
    assert all(name.startswith("train.optim.") for name in listed(capsys.readouterr().out))
    ddetr("train", "--help-keys", "MIRRORING")
    assert listed(capsys.readouterr().out) == {"dataset.augmentation.horizontal_flip_prob"}
    ddetr("train", "--help-keys", "batch", "null")
    assert "train.batch_size" in listed(capsys.readouterr().out)
    assert ddetr("train", "--help-keys", "num_epoks") == 2
    assert "did you mean train.num_epochs?" in capsys.readouterr().err
    assert ddetr("doctor", "--help-keys") == 2
    assert "give one of convert, train" in capsys.readouterr().err


def read(subtask: str | None, text: str, folder: Path) -> Any:
    """Load a template's text as its subtask would."""
    path = folder / "spec.yaml"
    path.write_text(text)
    model = SUBTASK_KEYS[subtask].model if subtask else Experiment
    loaded = load_spec(model, path, (), subtask if subtask in LENIENT else None)
    assert loaded.notices == ()
    return loaded.spec


@pytest.mark.parametrize("subtask", [None, *SUBTASK_KEYS])
def test_a_template_loads_as_it_is_and_uncommented(subtask: str | None, tmp_path: Path) -> None:
    """Every line behind a # is a key with the value that it has anyway."""
    # fault 49
    text = template(subtask)
    as_it_is = read(subtask, text, tmp_path)
    lines = re.sub(r"^( *)#(?=[a-z])", r"\1", text, flags=re.MULTILINE)
    sources = re.compile(r"^ +(train|val|test|infer)_data_sources: .*\n", flags=re.MULTILINE)
    uncommented = read(subtask, lines, tmp_path)
    if subtask == "convert":
        assert uncommented == as_it_is
        return
    without = {"train_data_sources", "val_data_sources", "test_data_sources", "infer_data_sources"}
    for block in Experiment.model_fields:
        left, right = getattr(as_it_is, block), getattr(uncommented, block)
        if block == "dataset":
            left, right = left.model_dump(exclude=without), right.model_dump(exclude=without)
        assert left == right
    assert len(sources.findall(lines)) == (4 if "dataset:" in lines else 0)


@pytest.mark.parametrize("subtask", SUBTASK_KEYS)
def test_a_template_has_every_key_of_its_subtask(subtask: str) -> None:
    """Each once, with its meaning above it."""
    text = words_of(re.sub(r"^ *# ?", "", template(subtask), flags=re.MULTILINE))
    for row in SUBTASK_KEYS[subtask].all_rows():
        if "data_sources" not in row.name:  # of which a line has the whole entry
            assert f"{row.meaning} {row.name.rpartition('.')[2]}:" in text.replace(" #", " ")


def test_an_example_that_was_left_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The template as it is asks for the images."""
    spec = tmp_path / "spec.yaml"
    assert ddetr("spec", "train", "-o", str(spec)) == 0
    assert ddetr("train", "-e", str(spec)) == 2
    assert "dataset.train_data_sources.image_dir: /data/train/images" in capsys.readouterr().err
    assert ddetr("spec", "-o", str(spec)) == 2
    assert "exists; give --overwrite" in capsys.readouterr().err
    assert ddetr("spec", "evaluate", "-o", str(spec), "--overwrite") == 0
    assert "test_data_sources" in spec.read_text()


def test_the_template_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """Whole, and of one subtask; there is no such subtask."""
    assert ddetr("spec") == 0
    assert yaml.safe_load(capsys.readouterr().out).keys() == Experiment.model_fields.keys() - {
        "encryption_key"
    }
    assert ddetr("spec", "convert") == 0
    assert capsys.readouterr().out == template("convert")
    assert ddetr("spec", "doctor") == 2
    assert "one of convert, train" in capsys.readouterr().err


def faults(text: str | SpecTree, schema: dict[str, Any]) -> list[str]:
    tree = text if isinstance(text, SpecTree) else parse_spec(text, "spec.yaml")
    return [
        each.message for each in jsonschema.Draft202012Validator(schema).iter_errors(tree.values)
    ]


@pytest.mark.parametrize("subtask", [None, "convert"])
def test_the_schema_takes_templates(
    subtask: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is a schema of the draft that it names."""
    assert ddetr("spec", "--schema", *([subtask] if subtask else [])) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"].endswith("2020-12/schema")
    jsonschema.Draft202012Validator.check_schema(schema)
    assert faults(template(subtask), schema) == []


SCHEMA = json_schema()


@pytest.mark.parametrize(
    "text",
    [
        "train: {num_epoch: 3}",
        "trian: {}",
        "dataset: {train_data_sources: [{image_dirs: a}]}",
        "dataset: {augmentation: {scale: 3}}",
        "train: {optim: {learning: 3}}",
        "model: {num_classes: 3}",
        "train: {num_epochs: many}",
        "train: {num_epochs: 0}",
        "export: {format: tao}",
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(text: str) -> None:
    """A misspelt key, a derived one, a wrong value."""
    assert faults(text, SCHEMA)
    with pytest.raises(SpecError):
        load_tree(Experiment, parse_spec(text, "spec.yaml"))


@pytest.mark.parametrize(
    "text",
    [
        "dataset: {train_data_sources: {image_dir: a, json_file: b}, num_classes: auto}",
        "train: {num_epochs: '???', results_dir: ''}",
        "evaluate: {checkpoint: '${results_dir}/a.pth'}\nresults_dir: a",
        "train: null\ndataset: {augmentation: {scales: 480}}",
        "model: {pretrained_model_path: a}\nwandb: {enable: true}",
    ],
)
def test_the_schema_takes_what_the_reader_takes(text: str) -> None:
    """A bare value for a list, what counts as not given, references, names of TAO's."""
    assert faults(text, SCHEMA) == []
    load_tree(Experiment, parse_spec(text, "spec.yaml"))
