"""The page on parts of one's own: its code runs block after block, and does what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ddetr_model import CheckpointError, load_checkpoint, read_metadata, save_checkpoint

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(run_page: Any) -> Any:
    """Run all blocks; gives what they have named, and the folder."""
    return run_page(PAGE, "extending")


def test_each_example_leaves_what_it_promises(page: Any) -> None:
    """Networks are trained, saved, evaluated and exported; labels are converted."""
    _, folder = page
    for run in ("gated", "steps", "sizes", "shadows", "cups"):
        assert (folder / "results" / run / "dd_model_latest.pth").is_file()
    for run in ("gated", "steps", "cups"):
        assert (folder / "results" / run / "results.json").is_file()
    assert {path.name for path in folder.glob("*.onnx")} == {"gated.onnx", "steps.onnx"}


@pytest.mark.parametrize(
    ("run", "part", "kind"),
    [
        ("gated", "transformer.decoder.layers", "extending.GatedLayer"),
        ("steps", "backbone", "extending.Steps"),
    ],
)
def test_a_checkpoint_names_the_class_and_the_stock_reader_refuses_it(
    page: Any, run: str, part: str, kind: str
) -> None:
    """The sentence says what to do, and nothing is imported."""
    path = page[1] / "results" / run / "dd_model_latest.pth"
    assert read_metadata(path).parts == {part: kind}
    with pytest.raises(CheckpointError, match=rf"{part} is {kind}\): build that network"):
        load_checkpoint(path)


def test_a_layer_of_ones_own_making_says_its_plain_form(page: Any) -> None:
    """The page's encoder layer trains no run there; its form is put together here."""
    names, folder = page
    config = names["config"]
    transformer = names["DeformableTransformer"](config, encoder_layer=names["LookingLayer"])
    network = names["DeformableDETR"](config, transformer=transformer)
    export = names["ExportConfig"](input_height=64, input_width=64)
    save_checkpoint(network, folder / "looking.pth")
    names["export_onnx"](folder / "looking.pth", folder / "looking.onnx", export, network=network)
    (folder / "looking.onnx").unlink()


def test_the_pipeline_of_albumentations_trains(page: Any) -> None:
    """Where it is installed; its block does nothing elsewhere."""
    pytest.importorskip("albumentations", reason="albumentations is not installed")
    assert (page[1] / "results" / "albumented" / "dd_model_latest.pth").is_file()
