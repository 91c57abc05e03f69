"""`ddetr import`: any Deformable DETR in, ours or another program's layout out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ddetr_cli.app import main
from ddetr_model import (
    DeformableDETR,
    ModelConfig,
    export_original,
    load_checkpoint,
    save_checkpoint,
)

SIZES = {
    "hidden_dim": 32,
    "enc_layers": 1,
    "dec_layers": 1,
    "num_queries": 5,
    "dim_feedforward": 32,
}
CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}]


def ddetr(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def model() -> DeformableDETR:
    """A small detector that computes as published."""
    return DeformableDETR(ModelConfig(num_classes=4, padding_invariant=False, **SIZES)).eval()


@pytest.fixture
def theirs(model: DeformableDETR, tmp_path: Path) -> Path:
    """Its weights as the original authors would have them."""
    export_original(model, tmp_path / "theirs.pth")
    return tmp_path / "theirs.pth"


def assert_equal(model: DeformableDETR, path: Path) -> DeformableDETR:
    loaded = load_checkpoint(path)
    weights = loaded.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    return loaded


def test_an_import_shows_the_coverage(
    model: DeformableDETR, theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each part; the file written holds the same weights."""
    assert ddetr("import", theirs, "-o", tmp_path / "deep" / "ours.pth") == 0
    rows = {
        line.split()[0]: line.split()[1:]
        for line in capsys.readouterr().out.splitlines()
        if line.split()
    }
    assert rows["transformer.encoder"][1:] == ["0", "0", "0"]
    assert int(rows["backbone"][0]) > 200
    assert_equal(model, tmp_path / "deep" / "ours.pth")


@pytest.mark.parametrize("layout", ["huggingface", "original"])
def test_weights_go_to_another_layout_and_back(
    layout: str, model: DeformableDETR, tmp_path: Path
) -> None:
    """Not a bit changes on the way, and names of classes come along where the layout has them."""
    save_checkpoint(model, tmp_path / "ours.pth", categories=CATEGORIES)
    assert ddetr("import", tmp_path / "ours.pth", "-o", tmp_path / "theirs", "--to", layout) == 0
    assert ddetr("import", tmp_path / "theirs", "--output", tmp_path / "back.pth") == 0
    back = assert_equal(model, tmp_path / "back.pth")
    if layout == "huggingface":
        assert list(back.metadata.categories) == CATEGORIES


def test_a_part_of_a_model_is_refused_unless_asked_for(
    theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The refusal has the table; --allow-partial names what stays random."""
    contents = torch.load(theirs, weights_only=False)
    del contents["model"]["query_embed.weight"]
    torch.save(contents["model"], tmp_path / "part.pth")
    assert ddetr("import", tmp_path / "part.pth", "-o", tmp_path / "a.pth") == 2
    assert "lacks 1 of" in capsys.readouterr().err
    options = ["--allow-partial", "model.num_queries=5"]
    assert ddetr("import", tmp_path / "part.pth", "-o", tmp_path / "a.pth", *options) == 0
    assert "missing in the file and random: query_embed.weight" in capsys.readouterr().out


def test_class_heads_of_another_size_are_named(
    theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--num-classes keeps all but the class heads."""
    assert ddetr("import", theirs, "-o", tmp_path / "ours.pth", "--num-classes", 9) == 0
    assert (
        "re-initialised for another number of classes: class_embed.0.bias"
        in capsys.readouterr().out
    )
    assert load_checkpoint(tmp_path / "ours.pth").config.num_classes == 9


def test_what_is_wrong_is_one_sentence_and_2(
    theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing source, a target that exists, an unknown field, a key of another block."""
    target = tmp_path / "ours.pth"
    assert ddetr("import", tmp_path / "nowhere.pth", "-o", target) == 2
    assert "nowhere.pth" in capsys.readouterr().err
    assert ddetr("import", theirs, "-o", theirs) == 2
    assert "theirs.pth exists" in capsys.readouterr().err
    assert ddetr("import", theirs, "-o", target, "model.nhead=4") == 2
    assert "nhead" in capsys.readouterr().err
    assert ddetr("import", theirs, "-o", target, "train.seed=4") == 2
    assert "write model.<field>=<value>" in capsys.readouterr().err
    assert not target.exists()
