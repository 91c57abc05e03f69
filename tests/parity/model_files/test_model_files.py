"""Every door that reads a model reads the same files, gives the same weights and refuses alike.

Files: ours, plain and encrypted; the published layout, TAO's, safetensors, transformers'; those of
other architectures and of changed models; damaged ones. Doors: the start of a training, its
continuation, evaluation, inference, export, import, and the replay of a step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddetr_data.files import model_source
from ddetr_export import ExportConfig, export_onnx, prepare_export
from ddetr_export.onnx import read_model
from ddetr_model import load_checkpoint
from ddetr_train import open_detector
from ddetr_train.data import DetectionDataModule
from ddetr_train.nan import replay

NO_MOVE = 1e-9  # of a weight, at such a rate
SAME_ANSWER = 1e-4  # pixels and scores; files that say nothing of padding compute in another order
CLASS_IDS = (1, 2)
DOORS = ("evaluate", "inference", "export", "import")


def kinds(*names: str) -> list[str]:
    """Name each file and its encrypted twin."""
    return [f"{name}{ending}" for name in names for ending in ("", ".locked")]


LAYOUTS = [*kinds("ours", "tao", "published", "safetensors", "transformers"), "folder"]
REFUSED = [*kinds("gate", "gate-published", "gate-safetensors", "less"), "nan", "misshapen.locked"]
REFUSED += ["cut.locked", "garbage", "garbage.locked"]


def assert_same_weights(found: Mapping[str, Tensor], project, atol: float = 0.0) -> None:
    for name, value in project.weights.items():  # live norms have counters beside these
        torch.testing.assert_close(found[name], value, atol=atol, rtol=0, msg=lambda _, n=name: n)


@pytest.fixture(scope="module")
def refusal(project) -> Callable[[str], str]:
    """Give a function that tells what load_checkpoint says of a file."""

    @cache
    def say(name: str) -> str:
        with model_source(project.file(name), project.key(name)) as source:
            try:
                load_checkpoint(source)
            except ValueError as error:
                return str(error)
        raise AssertionError(f"{name} is not refused")

    return say


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_training_starts_from_the_files_weights(name: str, project) -> None:
    """All of them, of every layout."""
    started = project.training(name, "pretrained_model_path")
    assert_same_weights(started.weights, project)
    assert f"loaded {len(project.weights)} tensors of {project.file(name)}" in started.told
    assert "missing" not in started.told


@pytest.mark.parametrize("name", kinds("ours"))
def test_a_training_goes_on_with_the_files_weights(name: str, project) -> None:
    """Another epoch at a rate of nothing leaves them as they were."""
    option = "resume_training_checkpoint_path"
    result = project.training(name, option).training.run()
    assert result.latest_checkpoint is not None
    with model_source(result.latest_checkpoint, project.key(name)) as source:
        assert_same_weights(load_checkpoint(source).state_dict(), project, NO_MOVE)


@pytest.mark.parametrize("name", [n for n in LAYOUTS if n not in ("folder", *kinds("ours"))])
def test_weights_alone_are_no_run_to_go_on_with(name: str, project) -> None:
    """The sentence says where they can go."""
    with pytest.raises(ValueError, match=r"no training state: pass it as train\.pretrained_model"):
        project.training(name, "resume_training_checkpoint_path")


@pytest.fixture(scope="module")
def answers(project) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and scores of the plain file for an image, of the classes that it has."""
    return detect(project, "ours")


def detect(project, name: str) -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    key, size_hw = project.key(name), (64, 64)
    detector = open_detector(project.file(name), encryption_key=key, input_size_hw=size_hw)
    (found,) = detector.predict([image])
    found = found.of_classes(CLASS_IDS)  # some layouts name no class: then any may be detected
    return found.boxes_xyxy, found.scores


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_detector_answers_with_the_files_weights(name: str, project, answers) -> None:
    """What evaluate and inference run."""
    for found, wanted in zip(detect(project, name), answers, strict=True):
        np.testing.assert_allclose(found, wanted, atol=SAME_ANSWER)


@pytest.mark.parametrize("name", ["published.locked", "folder"])
@pytest.mark.parametrize("door", ["evaluate", "inference"])
def test_the_commands_run_other_programs_models(door: str, name: str, project, ddetr) -> None:
    """Encrypted or in a folder of several files."""
    status, said = ddetr(door, name)
    assert (status, "Traceback" in said) == (0, False), said


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_export_is_of_the_files_weights(name: str, project, tmp_path: Path) -> None:
    """Before anything is traced."""
    config = ExportConfig(input_height=64, input_width=64)
    target, key = tmp_path / "model.onnx", project.key(name)
    prepared = prepare_export(project.file(name), target, config, encryption_key=key)
    assert_same_weights(prepared.model.state_dict(), project)


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_import_writes_the_files_weights(name: str, project, ddetr, tmp_path: Path) -> None:
    """Encrypted where there is a key."""
    status, said = ddetr("import", name)
    assert status == 0, said
    target = tmp_path / "target" / "imported.pth"
    assert target.read_bytes().startswith(b"DDETRENC") == (project.key(name) is not None)
    with model_source(target, project.key(name)) as source:
        assert_same_weights(load_checkpoint(source).state_dict(), project)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", REFUSED)
def test_a_file_is_refused_with_one_sentence_at_every_door(
    name: str, door: str, ddetr, refusal
) -> None:
    """Exit status 2, and what load_checkpoint says."""
    status, said = ddetr(door, name)
    assert (status, "Traceback" in said) == (2, False), said
    assert refusal(name) in said


@pytest.mark.parametrize("name", kinds("gate", "gate-published", "gate-safetensors"))
def test_a_start_lists_what_the_model_does_not_have(name: str, project) -> None:
    """Fine-tuning takes what fits and tells the rest by name."""
    started = project.training(name, "pretrained_model_path")
    assert f"1 unknown to the model ({project.gate})" in started.told
    assert_same_weights(started.weights, project)


@pytest.mark.parametrize("name", kinds("gate", "less"))
def test_a_run_does_not_go_on_with_a_changed_model(name: str, project, refusal) -> None:
    """The sentence is load_checkpoint's, before Lightning reads the file."""
    with pytest.raises(ValueError, match=re.escape(refusal(name))):
        project.training(name, "resume_training_checkpoint_path")


def test_an_import_can_leave_out_what_a_changed_model_has(project, ddetr, tmp_path: Path) -> None:
    """It is listed, and what is written is refused nowhere."""
    status, said = ddetr("import", "gate.locked", "--allow-unknown")
    assert status == 0, said
    assert f"in the file and of no use to the model: {project.gate}" in said
    with model_source(tmp_path / "target" / "imported.pth", project.key("ours.locked")) as source:
        assert_same_weights(load_checkpoint(source).state_dict(), project)


@pytest.mark.parametrize("name", kinds("four-heads", "four-heads-published"))
def test_other_heads_are_no_start(name: str, project) -> None:
    """Their tensors have the same shapes, and another meaning."""
    with pytest.raises(ValueError, match=r"has nheads 4 but the model 8: set model\.nheads"):
        project.training(name, "pretrained_model_path")
    started = project.training(name, "pretrained_model_path", model=project.four_heads)
    assert "missing" not in started.told


@pytest.mark.parametrize("name", kinds("one-box-head", "one-box-head-published"))
def test_a_shared_box_head_becomes_that_of_every_layer(name: str, project) -> None:
    """A model with box refinement starts from one without, nothing left random."""
    started = project.training(name, "pretrained_model_path")
    assert "missing" not in started.told
    with model_source(project.file(name), project.key(name)) as source:
        shared = load_checkpoint(source).state_dict()
    heads = [each for each in started.weights if "decoder.bbox_embed." in each]
    assert len(heads) == 12
    for each in heads:
        stored = shared[each.removeprefix("transformer.decoder.")]
        assert torch.equal(started.weights[each], stored), each


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("key", "words"), [(None, "is encrypted: set encryption_key"), ("wrong", "another one")]
)
def test_each_door_asks_for_the_right_key(key, words, door: str, ddetr) -> None:
    """A missing and a wrong passphrase are one sentence each."""
    status, said = ddetr(door, "ours.locked", key=key)
    assert (status, "Traceback" in said) == (2, False), said
    assert words in said


@pytest.mark.parametrize("option", ["pretrained_model_path", "resume_training_checkpoint_path"])
@pytest.mark.parametrize(("key", "words"), [(None, "is encrypted"), ("wrong", "another one")])
def test_a_training_asks_for_the_right_key(key, words, option: str, project) -> None:
    """Before anything is built."""
    with pytest.raises(ValueError, match=words):
        project.training("ours.locked", option, key=key)


def test_an_encrypted_file_of_another_program_is_exported_whole(project, tmp_path: Path) -> None:
    """Traced, compared and written encrypted, with the plain file's network inside."""
    config = ExportConfig(input_height=64, input_width=64)
    contents = []
    for name in kinds("published"):
        key, target = project.key(name), tmp_path / "model.onnx"
        written = export_onnx(project.file(name), target, config, encryption_key=key)
        contents.append(read_model(written.path, key))
    assert contents[0] == contents[1]


@pytest.fixture(scope="module")
def step(project) -> dict[str, Any]:
    """What a run leaves that stops with NaN."""
    data = DetectionDataModule(project.dataset, seed=0, num_classes=3)
    return {
        "model": project.model.model_dump(mode="json"),
        "state_dict": project.weights,
        "has_frozen_norms": True,
        "batch": next(iter(data.train_dataloader()))._asdict(),
        "images": ["first.jpg", "second.jpg"],
        "seed": [0, 0, 0, 0],
        "precision": "fp32",
        "first_bad": "the loss",
    }


def test_a_replay_reads_its_evidence_plain_and_encrypted(step, project) -> None:
    """The same losses either way."""
    plain, locked = project.write("step", step)
    assert replay(plain) == replay(locked, encryption_key=project.key("step.locked"))
    with pytest.raises(ValueError, match="is encrypted"):
        replay(locked)
    with pytest.raises(ValueError, match="another one"):
        replay(locked, encryption_key="wrong")


@pytest.mark.parametrize("kind", ["gate", "less"])
def test_a_replay_refuses_a_changed_model(kind: str, step, project) -> None:
    """Plain and encrypted, in the words of the other doors."""
    state = dict(step["state_dict"])
    words = "lacks 1 of"
    if kind == "gate":
        state[project.gate] = torch.ones(3)
        words = f"1 tensors that the model does not have, such as {project.gate}"
    else:
        del state["query_embed.weight"]
    for path in project.write(f"step-{kind}", step | {"state_dict": state}):
        with pytest.raises(ValueError, match=words):
            replay(path, encryption_key=project.key(path.parent.name))
