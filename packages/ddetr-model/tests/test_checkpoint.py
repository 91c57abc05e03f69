"""A checkpoint is all that is needed, is written whole or not at all, and never runs code."""

import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ddetr_model import (
    CheckpointError,
    DeformableDETR,
    export_huggingface,
    export_original,
    load_checkpoint,
    load_pretrained,
    metadata_dict,
    read_metadata,
    save_checkpoint,
)

pytestmark = pytest.mark.usefixtures("shallow_resnet")

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 4, "name": "dog"}]


class Malicious:
    """Would run a command when unpickled."""

    def __reduce__(self):
        return os.system, ("echo run > /dev/null",)


@pytest.fixture
def model(tiny_config, perturb):
    """Give a small detector away from its start."""
    return perturb(DeformableDETR(tiny_config())).eval()


def same_answers(model, other):
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images), other(images), atol=0, rtol=0)


def test_saved_model_comes_back_with_all_it_knows(model, tmp_path):
    """Weights, architecture, classes, preprocessing and scores are in the file."""
    path = tmp_path / "deep" / "model.pth"
    save_checkpoint(
        model, path, categories=CATEGORIES, preprocess={"mode": "fixed"}, metrics={"AP": 0.5}
    )
    loaded = load_checkpoint(path)
    assert not loaded.training
    assert loaded.config == model.config
    assert list(loaded.metadata.categories) == CATEGORIES
    assert loaded.metadata.metrics == {"AP": 0.5}
    assert read_metadata(path).preprocess == {"mode": "fixed"}
    same_answers(model, loaded)


WRITERS = {
    "model.pth": save_checkpoint,
    "original.pth": export_original,
    "model.safetensors": lambda model, path: export_huggingface(model, path.parent),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_without_room_keeps_the_old_file(model, tmp_path, name):
    """It loses neither the old file nor space, and the error names the file."""
    resource = pytest.importorskip("resource")
    path, write = tmp_path / name, WRITERS[name]
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write(model, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", WRITERS)
def test_model_files_have_the_mode_that_the_umask_allows(model, tmp_path, name):
    """They are ordinary files, not their owner's alone."""
    before = os.umask(0o022)
    try:
        WRITERS[name](model, tmp_path / name)
    finally:
        os.umask(before)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("prefix", ["model.", "model.model."])
def test_lightning_checkpoints_load(prefix, model, tmp_path):
    """Prefixes of a trainer's modules are taken off."""
    state = {prefix + name: value for name, value in model.state_dict().items()}
    contents = {"state_dict": state, "epoch": 3, "ddetr": metadata_dict(model.config)}
    torch.save(contents, tmp_path / "model_epoch_003.pth")
    same_answers(model, load_checkpoint(tmp_path / "model_epoch_003.pth"))


def test_model_of_a_backbone_file_loads_without_that_file(model, tiny_config, tmp_path):
    """Whoever gets a checkpoint need not have what its training started from."""
    config = tiny_config(pretrained_backbone_path="gone.pth")
    trained = DeformableDETR(config, load_backbone_file=False).eval()
    save_checkpoint(trained, tmp_path / "model.pth")
    same_answers(trained, load_checkpoint(tmp_path / "model.pth"))


def test_pickle_that_would_run_code_is_refused(model, tmp_path):
    """The text says how to convert a file that one trusts."""
    torch.save({"model": model.state_dict(), "extra": Malicious()}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=r"would run code when read.*torch\.save") as error:
        load_checkpoint(tmp_path / "bad.pth")
    assert "posix.system" in str(error.value) or "nt.system" in str(error.value)


def test_settings_of_trainers_are_read_over(model, tmp_path):
    """Lightning's, TAO's and OpenMMLab's settings come as objects; none of them is made."""
    extra = {
        "path": Path("results"),
        "loss": np.float64(0.5),
        "history": np.zeros(3),
    }
    contents = {"state_dict": model.state_dict(), "ddetr": metadata_dict(model.config), **extra}
    torch.save(contents, tmp_path / "model.pth")
    same_answers(model, load_checkpoint(tmp_path / "model.pth"))


@pytest.mark.parametrize("contents", [b"", b"no pickle", b"PK\x03\x04 cut short"])
def test_broken_files_are_named(contents, tmp_path):
    """Garbage and cut files give one sentence with the path."""
    path = tmp_path / "model.pth"
    path.write_bytes(contents)
    with pytest.raises(CheckpointError, match=r"model\.pth"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "run `git lfs pull`"),
        (b"%PDF-1.7", "is no (safetensors file|file of weights)"),
    ],
)
@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_what_was_saved_in_place_of_weights_is_called_by_its_name(contents, words, name, tmp_path):
    """Nobody is told to read a web page with weights_only=False."""
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(CheckpointError, match=words) as error:
        load_checkpoint(tmp_path / name)
    assert "run code" not in str(error.value)


def test_a_flipped_bit_in_a_tensor_is_found(model, tmp_path):
    """torch.load alone would take it for another weight."""
    path = tmp_path / "model.pth"
    save_checkpoint(model, path)
    data = bytearray(path.read_bytes())
    place = data.index(model.state_dict()["query_embed.weight"].numpy().tobytes())
    data[place + 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="is no file of weights, or is damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("removed", [1, 50, 400])
def test_a_file_that_lost_bytes_is_named(model, removed, tmp_path):
    """Its list of contents then points before the file's own start."""
    path = tmp_path / "model.pth"
    save_checkpoint(model, path)
    data = path.read_bytes()
    path.write_bytes(data[:100] + data[100 + removed :])
    with pytest.raises(CheckpointError, match="is no file of weights, or is damaged"):
        load_checkpoint(path)


def test_missing_file_is_named(tmp_path):
    """The path stands in the error."""
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        load_checkpoint(tmp_path / "nowhere.pth")


def test_file_without_a_tensor_is_refused(model, tmp_path):
    """A missing tensor is told by name instead of staying random."""
    state = model.state_dict()
    del state["query_embed.weight"]
    torch.save({"state_dict": state, "ddetr": metadata_dict(model.config)}, tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match=r"query_embed\.weight"):
        load_checkpoint(tmp_path / "part.pth")


def test_metadata_of_a_newer_format_is_refused(model, tmp_path):
    """A file that this version would misread is not read."""
    metadata = {**metadata_dict(model.config), "format_version": 99}
    torch.save({"state_dict": model.state_dict(), "ddetr": metadata}, tmp_path / "new.pth")
    with pytest.raises(CheckpointError, match="format_version"):
        load_checkpoint(tmp_path / "new.pth")


def test_fine_tuning_takes_all_but_the_class_heads(model, tiny_config, tmp_path):
    """Three classes instead of five: everything but class_embed equals the source."""
    cats = [{"id": 1, "name": "cat"}]
    save_checkpoint(model, tmp_path / "source.pth", categories=cats, preprocess={"max_size": 9})
    tuned = DeformableDETR(tiny_config(num_classes=3))
    report = load_pretrained(tuned, tmp_path / "source.pth")
    assert tuned.metadata.preprocess == {"max_size": 9}
    assert tuned.metadata.categories == ()  # the new heads do not mean them
    same = DeformableDETR(tiny_config())
    load_pretrained(same, tmp_path / "source.pth")
    assert [each["name"] for each in same.metadata.categories] == ["cat"]
    assert report.mismatched == (
        "class_embed.0.bias",
        "class_embed.0.weight",
        "class_embed.1.bias",
        "class_embed.1.weight",
    )
    assert not report.missing
    source = model.state_dict()
    for name, value in tuned.state_dict().items():
        if "class_embed" not in name and "num_batches" not in name:
            torch.testing.assert_close(value, source[name])
    assert not tuned.backbone[0].body.conv1.weight.requires_grad  # a pretrained stem stays
    assert dict(report.by_part())["class_embed"]["mismatched"] == 4


def test_fine_tuning_from_another_architecture_is_refused(model, tiny_config, tmp_path):
    """Same names in other shapes are no start for training."""
    save_checkpoint(model, tmp_path / "source.pth")
    with pytest.raises(CheckpointError, match="another architecture"):
        load_pretrained(DeformableDETR(tiny_config(hidden_dim=64)), tmp_path / "source.pth")


def test_the_older_name_of_the_backbone_file_is_read(model, tmp_path: Path) -> None:
    """The first checkpoints name it twice."""
    save_checkpoint(model, tmp_path / "model.pth")
    contents = torch.load(tmp_path / "model.pth", weights_only=True)
    contents["ddetr"]["model"] |= {"pretrained_model_path": "resnet.pth"}
    torch.save(contents, tmp_path / "older.pth")
    assert read_metadata(tmp_path / "older.pth").model_config_.pretrained_backbone_path == (
        "resnet.pth"
    )


def older(path, **changes):
    """Write a file as the first versions did, with the whole block of a spec under `model`."""
    contents = torch.load(path, weights_only=True)
    metadata = contents["ddetr"]
    optimizer = {"backbone_names": ["backbone.0"], "linear_proj_names": [], "clip_max_norm": 0.1}
    metadata["model"] |= metadata.pop("losses") | optimizer | changes
    torch.save(contents, path)


def test_losses_are_carried(tiny_detector, tmp_path: Path) -> None:
    """A file says what its network is trained to do, and gives back the denoising part."""
    model = tiny_detector(denoising_groups=2, cls_loss_coef=3, aux_loss=False).eval()
    save_checkpoint(model, tmp_path / "model.pth")
    loaded = load_checkpoint(tmp_path / "model.pth")
    assert loaded.losses == loaded.metadata.losses == model.losses
    assert torch.equal(loaded.denoising.box_embed.weight, model.denoising.box_embed.weight)
    same_answers(model, loaded)


def test_the_first_checkpoints_are_read(tiny_detector, tmp_path: Path) -> None:
    """Their `model` holds the losses too, and options of the optimiser that nothing here needs."""
    model = tiny_detector(denoising_groups=2, cls_loss_coef=3, aux_loss=False).eval()
    save_checkpoint(model, tmp_path / "model.pth")
    older(tmp_path / "model.pth")
    loaded = load_checkpoint(tmp_path / "model.pth")
    assert (loaded.config, loaded.losses) == (model.config, model.losses)
    assert read_metadata(tmp_path / "model.pth").losses == model.losses
    same_answers(model, loaded)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"colour": 3}, r"ddetr\.model\.colour"), ({"focal_alpha": 2}, r"ddetr\.losses\.focal_alpha")],
)
def test_an_unknown_key_of_the_first_checkpoints_is_refused(model, tmp_path, changes, words):
    """Whatever was no key, or no value, then is none now."""
    save_checkpoint(model, tmp_path / "model.pth")
    older(tmp_path / "model.pth", **changes)
    with pytest.raises(CheckpointError, match=rf"model\.pth has bad metadata: {words}"):
        load_checkpoint(tmp_path / "model.pth")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("categories", [{"id": 1}], "a whole number id and a name"),
        ("categories", [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "must differ"),
        ("categories", [{"id": 91, "name": "a"}], "must be 0 to"),
        ("categories", [{"id": -1, "name": "a"}], "must be 0 to"),
        ("format_version", 999, "made by a newer ddetr-model"),
    ],
)
def test_metadata_that_cannot_be_is_told(model, tmp_path: Path, key, value, words) -> None:
    """One sentence names the file and the field, whichever door reads it."""
    save_checkpoint(model, tmp_path / "model.pth")
    contents = torch.load(tmp_path / "model.pth", weights_only=True)
    contents["ddetr"][key] = value
    torch.save(contents, tmp_path / "odd.pth")
    for read in (read_metadata, load_checkpoint):
        with pytest.raises(
            CheckpointError, match=rf"odd.pth has bad metadata: ddetr.{key}.*{words}"
        ):
            read(tmp_path / "odd.pth")


@pytest.mark.parametrize("kind", ["complex", "sparse"])
def test_a_tensor_of_another_kind_is_refused(model, tmp_path: Path, kind) -> None:
    """No detector has one; PyTorch would convert the one and fail in the other."""
    save_checkpoint(model, tmp_path / "model.pth")
    contents = torch.load(tmp_path / "model.pth", weights_only=True)
    name = "transformer.level_embed"
    value = contents["state_dict"][name]
    contents["state_dict"][name] = value.to_sparse() if kind == "sparse" else value + 0j
    torch.save(contents, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=f"level_embed is a {kind} tensor"):
        load_checkpoint(tmp_path / "odd.pth")


def test_a_compressed_file_is_refused_by_its_header(model, tmp_path: Path) -> None:
    """PyTorch writes none; a small one could take all memory before it is found to be none."""
    save_checkpoint(model, tmp_path / "model.pth")
    with (
        zipfile.ZipFile(tmp_path / "model.pth") as source,
        zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for each in source.namelist():
            target.writestr(each, source.read(each))
    with pytest.raises(CheckpointError, match=r"small.pth is no file of weights, or is damaged"):
        load_checkpoint(tmp_path / "small.pth")
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("archive/data/0", bytes(2**28))
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=r"bomb.pth"):
        load_checkpoint(bomb)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
