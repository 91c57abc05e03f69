"""A file is of the model that it is read as, or it is refused, by the names of what is wrong."""

import re

import pytest
import torch
from safetensors.torch import save_model

from ddetr_model import (
    CheckpointError,
    DeformableDETR,
    export_original,
    import_checkpoint,
    load_checkpoint,
    load_pretrained,
    metadata_dict,
)

pytestmark = pytest.mark.usefixtures("shallow_resnet")

GATE = "transformer.decoder.layers.0.gate"
# What published files and trainers store beside a detector, with no effect on what it detects.
HARMLESS = [
    "backbone.0.body.fc.weight",
    "bbox_attention.q_linear.weight",
    "criterion.empty_weight",
    "ema_backbone_conv1_weight",
    "mask_head.lay1.bias",
]


@pytest.fixture
def model(tiny_config, perturb):
    """Give a small detector that computes as published."""
    return perturb(DeformableDETR(tiny_config(padding_invariant=False))).eval()


@pytest.fixture(params=["ours", "original"])
def write(request, model, tmp_path):
    """Give a function that saves changed weights, as ours and as the original authors do."""

    def save(added=None, without=()):
        path = tmp_path / "model.pth"
        export_original(model, path)
        contents = torch.load(path, weights_only=False)
        state = contents["model"] | (added or {})
        contents["model"] = {name: value for name, value in state.items() if name not in without}
        if request.param == "ours":
            contents = {"state_dict": contents["model"], "ddetr": metadata_dict(model.config)}
        torch.save(contents, path)
        return path

    return save


def test_a_changed_model_does_not_come_back_as_the_known_one(write, model, caplog):
    """Refused by name, with what to do; or read without it, and told."""
    path = write({GATE: torch.ones(3)})
    for read in (load_checkpoint, import_checkpoint):
        with pytest.raises(CheckpointError, match=f"such as {re.escape(GATE)}: .*--allow-unknown"):
            read(path)
    loaded = load_checkpoint(path, strict=False)
    assert f"left out of {path}: {GATE}" in caplog.text
    assert torch.equal(loaded.query_embed.weight, model.query_embed.weight)
    assert import_checkpoint(path, strict=False)[1].unexpected == (GATE,)


def test_what_changes_no_detection_is_read_over(write, tiny_config, caplog):
    """And listed, apart from the counters of batch norms that the model may have frozen."""
    path = write({name: torch.zeros(1) for name in HARMLESS})
    _, report = import_checkpoint(path)
    assert report.unexpected == tuple(HARMLESS)
    assert "left out" not in caplog.text
    frozen = DeformableDETR(tiny_config(train_backbone=False))
    path = write({"backbone.0.body.bn1.num_batches_tracked": torch.tensor(3)})
    assert load_pretrained(frozen, path).unexpected == ()


@pytest.mark.parametrize(
    "name", ["backbone.0.body.layer2.0.se.fc1.weight", "class_embed.2.weight", "neck.weight"]
)
def test_what_might_change_a_detection_is_refused(name, write):
    """A part inside a stage, a head too many, a part of one's own."""
    with pytest.raises(CheckpointError, match=f"does not have, such as {re.escape(name)}"):
        load_checkpoint(write({name: torch.zeros(1)}))


def test_a_backbones_unused_stages_are_no_change(tiny_config, tmp_path):
    """Other projects keep those that they compute for nothing."""
    sizes = {"return_interm_indices": (1, 2), "num_feature_levels": 2}
    model = DeformableDETR(tiny_config(**sizes))
    state = model.state_dict() | {"backbone.0.body.layer4.0.conv1.weight": torch.zeros(1)}
    path = tmp_path / "model.pth"
    torch.save({"state_dict": state, "ddetr": metadata_dict(model.config)}, path)
    assert load_checkpoint(path).config == model.config


@pytest.mark.parametrize("kind", ["class_embed", "bbox_embed"])
def test_a_layers_head_is_not_anothers(kind, model, write):
    """Where each has its own, a file without one is refused, and not filled from the first."""
    lost = [name for name in model.state_dict() if f"{kind}.1." in name]
    path = write(without=lost)
    for read in (load_checkpoint, import_checkpoint):
        with pytest.raises(
            CheckpointError, match=rf"lacks \d+ of \d+ tensors, such as {kind}\.1\."
        ):
            read(path)


@pytest.mark.parametrize("fields", [{}, {"two_stage": True}, {"with_box_refine": False}])
def test_heads_that_a_file_names_once_are_told_apart(fields, tiny_config, perturb, tmp_path):
    """As safetensors' save_model leaves out what stands under a second name."""
    model = perturb(DeformableDETR(tiny_config(padding_invariant=False, **fields))).eval()
    save_model(model, tmp_path / "model.safetensors")
    loaded, _ = import_checkpoint(tmp_path / "model.safetensors", nheads=4, backbone="resnet_50")
    assert loaded.config.with_box_refine == model.config.with_box_refine
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_weights_that_are_not_finite_are_refused(write, model):
    """Nothing would be detected with them; fine-tuning leaves them to the training's guard."""
    path = write({"query_embed.weight": torch.full((7, 64), torch.nan)})
    with pytest.raises(CheckpointError, match=r"NaN or infinite values in query_embed\.weight"):
        load_checkpoint(path)
    assert load_pretrained(model, path).loaded


def test_a_report_says_in_one_sentence_what_became_of_the_tensors(write, tiny_config):
    """Counts, and the first three names of each kind."""
    path = write({GATE: torch.ones(3)}, without={"query_embed.weight"})
    report = load_pretrained(DeformableDETR(tiny_config(num_classes=3)), path)
    assert report.describe("it") == (
        f"loaded {len(report.loaded)} tensors of it; "
        "1 missing in the file (query_embed.weight); "
        f"1 unknown to the model ({GATE}); "
        "4 of another shape and started anew "
        "(class_embed.0.bias, class_embed.0.weight, class_embed.1.bias, ...)"
    )


def test_odd_tensors_and_fields_are_sentences(write, tmp_path):
    """Neither unpacking nor division shows through."""
    for nheads in (0, "many"):
        with pytest.raises(CheckpointError, match="cannot be built here: nheads"):
            import_checkpoint(write(), nheads=nheads)
    flat = {"transformer.level_embed": torch.zeros(3)}
    torch.save({"model": flat}, tmp_path / "flat.pth")
    with pytest.raises(CheckpointError, match=r"level_embed has shape \(3,\), which no Deformable"):
        load_checkpoint(tmp_path / "flat.pth")
