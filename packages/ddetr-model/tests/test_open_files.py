"""A model is read from a file that the caller has opened as from a path."""

import io
import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from ddetr_model import (
    CheckpointError,
    DeformableDETR,
    export_huggingface,
    export_original,
    import_checkpoint,
    load_checkpoint,
    load_pretrained,
    read_metadata,
    save_checkpoint,
)

pytestmark = pytest.mark.usefixtures("shallow_resnet")

BARE = {"nheads": 4, "backbone": "resnet_50"}  # what tensors without settings do not tell


@pytest.fixture
def model(tiny_config, perturb):
    """Give a small detector that computes as published."""
    return perturb(DeformableDETR(tiny_config(padding_invariant=False))).eval()


def write(model, layout, folder):
    """Write a model in a layout that one file holds, and say what a reader must be told."""
    path = folder / "model.pth"
    state = {name: value.clone() for name, value in model.state_dict().items()}
    if layout == "ours":
        save_checkpoint(model, path, categories=[{"id": 1, "name": "cat"}])
        return path, {}
    if layout == "original":
        export_original(model, path)
        return path, {}
    if layout == "tao":
        tensors = {f"model.model.{name}": value for name, value in state.items()}
        torch.save({"state_dict": tensors, "epoch": 9}, path)
    elif layout == "before 1.6":
        torch.save({"model": state}, path, _use_new_zipfile_serialization=False)
    else:
        save_file(state, path.with_suffix(layout))
        path = path.with_suffix(layout)
    return path, BARE


@pytest.mark.parametrize(
    "layout", ["ours", "original", "tao", "before 1.6", ".safetensors", ".weights"]
)
@pytest.mark.parametrize("opening", ["by path", "open", "in memory"])
def test_every_layout_of_one_file_is_read_however_it_is_given(layout, opening, model, tmp_path):
    """Safetensors are known by their beginning, under any name; an open file stays open."""
    path, told = write(model, layout, tmp_path)
    source = path if opening == "by path" else io.BytesIO(path.read_bytes())
    if opening == "open":
        source = path.open("rb")
        source.seek(7)
    loaded, report = import_checkpoint(source, **told)
    assert not report.missing
    for name, value in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(loaded.state_dict()[name], value), name
    if opening != "by path":
        assert not source.closed
        assert len(load_pretrained(model, source).loaded) == len(report.loaded)
        source.close()


def test_the_whole_folder_of_transformers_is_found_from_an_open_file(model, tmp_path):
    """Its name tells where the settings stand; without one the sentence says what to give."""
    export_huggingface(model, tmp_path)
    path = tmp_path / "model.safetensors"
    with path.open("rb") as file:
        loaded = load_checkpoint(file)
    assert loaded.config.nheads == load_checkpoint(path).config.nheads == 4
    assert torch.equal(loaded.query_embed.weight, model.query_embed.weight)
    with pytest.raises(CheckpointError, match=r"config\.json: give its path or its folder"):
        load_checkpoint(io.BytesIO(path.read_bytes()))


def test_the_file_that_is_named_is_read_and_not_another_of_its_folder(model, tmp_path):
    """A second file of weights beside model.safetensors; a shard stands for all shards."""
    export_huggingface(model, tmp_path)
    first = tmp_path / "model.safetensors"
    shutil.move(first, tmp_path / "best.safetensors")
    with torch.no_grad():
        model.query_embed.weight.zero_()
    export_huggingface(model, tmp_path)
    assert load_checkpoint(tmp_path / "best.safetensors").query_embed.weight.abs().sum() > 0
    assert load_checkpoint(first).query_embed.weight.abs().sum() == 0
    index = {"weight_map": {"x": "best.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert load_checkpoint(tmp_path / "best.safetensors").query_embed.weight.abs().sum() > 0


def test_errors_name_an_open_file_by_its_path(model, tmp_path):
    """Or call it the open file; what is no binary file is told as such."""
    path = tmp_path / "model.pth"
    path.write_bytes(b"nothing")
    with path.open("rb") as file, pytest.raises(CheckpointError, match=r"model\.pth is no file of"):
        load_checkpoint(file)
    with pytest.raises(CheckpointError, match=r"^the open file is no file of weights"):
        load_pretrained(model, io.BytesIO(b"nothing"))
    with path.open() as file, pytest.raises(TypeError, match=r"model\.pth is opened as text.*'rb'"):
        read_metadata(file)


def test_an_encrypted_file_says_how_it_is_opened(tmp_path):
    """This package has no keys."""
    (tmp_path / "model.pth").write_bytes(b"DDETRENC" + bytes(100))
    with pytest.raises(CheckpointError, match=r"is encrypted: open it with ddetr_data\.files\."):
        load_checkpoint(tmp_path / "model.pth")


def test_a_model_is_saved_into_an_open_file(model):
    """As into one that encrypts what it is given."""
    file = io.BytesIO()
    save_checkpoint(model, file, metrics={"AP": 0.5})
    assert read_metadata(file).metrics == {"AP": 0.5}
    assert load_checkpoint(file).config == model.config
