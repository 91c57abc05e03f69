"""Files that earlier versions wrote, as docs/stability.md promises: each is read as it was meant.

A folder of tests/compatibility is one version's, made by scripts/compatibility_files.py.
"""

from __future__ import annotations

import json
import lzma
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddetr_cli.app import main as ddetr
from ddetr_cli.spec import Experiment, load_spec
from ddetr_data.files import opened
from ddetr_export import open_detector as open_onnx
from ddetr_model import load_checkpoint, read_metadata
from ddetr_train import open_detector

FOLDER = Path(__file__).parent / "compatibility"
SCORE_TOLERANCE = 1e-3  # of sums in another order, on other processors
PIXEL_TOLERANCE = 0.1
MOST_BYTES = 2**20  # of one version's files

DETECTORS = {
    "model.pth": (open_detector, "model"),
    "training_state.pth": (open_detector, "training_state"),
    "model.onnx": (open_onnx, "model"),
}


@pytest.fixture(params=sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def version(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.param
    return folder


@pytest.fixture
def files(version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a version's files unpacked."""
    shutil.copytree(version, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.rglob("*.xz"):
        path.with_suffix("").write_bytes(lzma.decompress(path.read_bytes()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def expected(version: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((version / "expected.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize("name", DETECTORS)
def test_a_file_detects_what_it_did(name: str, files: Path, expected: dict[str, Any]) -> None:
    """Boxes, scores, classes and their names, from the image and the file alone.

    Of ids that have a name: the first files gave others too, in places that are now theirs.
    """
    opener, answer = DETECTORS[name]
    detector = opener(files / name)
    (found,) = detector.predict([files / expected["image"]])
    stated = {name: np.array(values) for name, values in expected[answer].items()}
    has_name = np.isin(stated["labels"], [each.id for each in detector.categories])
    labels, scores, boxes = (stated[it][has_name] for it in ("labels", "scores", "boxes_xyxy"))
    same = slice(len(labels))
    assert len(found) == len(stated["labels"])
    assert found.labels[same].tolist() == labels.tolist() != []
    np.testing.assert_allclose(found.scores[same], scores, atol=SCORE_TOLERANCE)
    np.testing.assert_allclose(found.boxes_xyxy[same], boxes, atol=PIXEL_TOLERANCE)
    assert {each.id: each.name for each in detector.categories}.items() >= {1: "circle"}.items()


def test_weights_in_safetensors_are_those_of_the_checkpoint(files: Path) -> None:
    """The folder of transformers' layout has every tensor, and what the file says of the model."""
    stored, other = load_checkpoint(files / "model.pth"), load_checkpoint(files / "huggingface")
    for name, tensor in stored.state_dict().items():
        assert tensor.equal(other.state_dict()[name]), name
    assert stored.metadata is not None
    assert other.metadata is not None
    assert other.metadata.categories == stored.metadata.categories
    for key in ("mode", "height", "width"):
        assert (other.metadata.preprocess or {})[key] == (stored.metadata.preprocess or {})[key]


def test_a_checkpoint_says_what_it_said(files: Path) -> None:
    """Its scores and its architecture."""
    assert read_metadata(files / "model.pth").metrics == {"val_AP": 0.5}
    config = load_checkpoint(files / "model.pth").config
    assert (config.backbone, config.num_queries, config.nheads) == ("resnet_50", 10, 4)


@pytest.mark.slow
def test_a_training_goes_on(files: Path) -> None:
    """The command that trained for one epoch trains a second one, from the state of the first."""
    run = files / "results" / "train"
    run.mkdir(parents=True)
    (files / "training_state.pth").rename(run / "dd_model_latest.pth")
    with pytest.raises(SystemExit) as ended:
        ddetr(["train", "-e", "spec.yaml", "train.num_epochs=2"])
    assert ended.value.code == 0
    lines = (run / "status.json").read_text("utf-8").splitlines()
    epochs = {json.loads(line).get("epoch") for line in lines} - {None}
    assert epochs == {1}, "epochs count from 0, and the first is done"


@pytest.mark.parametrize("name", ["spec.yaml", "experiment.yaml"])
def test_a_spec_is_accepted(name: str, files: Path) -> None:
    """Every key that a version had is still one, and its values are."""
    load_spec(Experiment, files / name)


def test_an_encrypted_file_is_opened_with_its_passphrase(
    files: Path, expected: dict[str, Any]
) -> None:
    """To the byte."""
    pytest.importorskip("cryptography")
    with opened(files / "locked.enc", expected["passphrase"]) as file:
        assert file.read() == expected["locked_text"].encode()


def test_the_files_stay_small(version: Path) -> None:
    """So that every version's can be kept."""
    assert sum(path.stat().st_size for path in version.rglob("*") if path.is_file()) < MOST_BYTES
