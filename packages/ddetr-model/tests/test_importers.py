"""Checkpoints of other projects give the same answers here, and ours give theirs there."""

import argparse

import pytest
import torch

from ddetr_model import (
    CheckpointError,
    DeformableDETR,
    export_huggingface,
    export_original,
    import_checkpoint,
    load_checkpoint,
    load_pretrained,
)

ANSWER_TOLERANCE = 1e-5
VARIANTS = {
    "base": {"with_box_refine": False},
    "box_refine": {},
    "two_stage": {"two_stage": True},
    "one_level": {"num_feature_levels": 1, "return_interm_indices": (3,)},
}


@pytest.fixture(params=VARIANTS)
def model(request, tiny_config, perturb):
    """Give a small detector that computes as published."""
    config = tiny_config(padding_invariant=False, **VARIANTS[request.param])
    return perturb(DeformableDETR(config)).eval()


@pytest.fixture
def base_model(tiny_config, perturb):
    """Give a small detector with box refinement."""
    return perturb(DeformableDETR(tiny_config(padding_invariant=False))).eval()


def weights(model):
    state = model.state_dict().items()
    return {name: value for name, value in state if not name.endswith("num_batches_tracked")}


def assert_same_answers(model, other):
    images = torch.randn(1, 3, 70, 66)
    with torch.no_grad():
        found, wanted = other(images), model(images)
    for name in ("pred_logits", "pred_boxes"):
        torch.testing.assert_close(found[name], wanted[name], atol=ANSWER_TOLERANCE, rtol=0)


def test_original_layout_goes_out_and_comes_back(model, tmp_path):
    """{"model", "args"} holds the architecture: nothing else is needed to read it."""
    export_original(model, tmp_path / "original.pth")
    contents = torch.load(tmp_path / "original.pth", weights_only=False)
    assert isinstance(contents["args"], argparse.Namespace)
    loaded = load_checkpoint(tmp_path / "original.pth")
    assert loaded.config.model_dump(exclude={"num_select"}) == model.config.model_dump(
        exclude={"num_select"}
    )
    assert_same_answers(model, loaded)


def test_huggingface_folder_goes_out_and_comes_back(model, tmp_path):
    """config.json and model.safetensors hold everything."""
    export_huggingface(model, tmp_path)
    loaded = load_checkpoint(tmp_path)
    assert loaded.config.two_stage == model.config.two_stage
    assert_same_answers(model, loaded)


@pytest.mark.parametrize("variant", ["base", "two_stage"])
def test_transformers_reads_our_export(variant, tiny_config, perturb, tmp_path):
    """from_pretrained finds every tensor and computes the same."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("timm")
    model = perturb(DeformableDETR(tiny_config(padding_invariant=False, **VARIANTS[variant])))
    export_huggingface(model.eval(), tmp_path)
    theirs = transformers.DeformableDetrForObjectDetection.from_pretrained(tmp_path).eval()
    images = torch.randn(1, 3, 70, 66)
    with torch.no_grad():
        found, wanted = theirs(images), model(images)
    torch.testing.assert_close(found.logits, wanted["pred_logits"], atol=1e-4, rtol=0)
    torch.testing.assert_close(found.pred_boxes, wanted["pred_boxes"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("prefix", ["model.model.", "model.", "module."])
def test_tao_prefixes_are_taken_off(prefix, base_model, tmp_path):
    """TAO stores the published names behind its Lightning module's; heads come from args."""
    state = {prefix + name: value for name, value in weights(base_model).items()}
    torch.save({"state_dict": state, "epoch": 9}, tmp_path / "tao.pth")
    loaded, report = import_checkpoint(tmp_path / "tao.pth", nheads=4)
    assert not report.missing
    assert loaded.config.enc_n_points == 4
    assert_same_answers(base_model, loaded)


def test_architecture_is_read_from_the_shapes(base_model, tmp_path):
    """Without any settings, everything but the number of heads follows from the tensors."""
    torch.save({"model": weights(base_model)}, tmp_path / "bare.pth")
    loaded, _ = import_checkpoint(tmp_path / "bare.pth", nheads=4)
    for field in ("hidden_dim", "num_classes", "num_queries", "dim_feedforward", "dec_layers"):
        assert getattr(loaded.config, field) == getattr(base_model.config, field)
    assert loaded.metadata.preprocess["shortest_edge"] == 800


def test_missing_tensors_are_refused_unless_asked_for(base_model, tmp_path):
    """A part of a model is not taken for a whole; the table shows what is there."""
    state = {
        name: v for name, v in weights(base_model).items() if "decoder.layers.0.norm" not in name
    }
    torch.save({"model": state}, tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match=r"lacks \d+ of \d+ tensors") as error:
        import_checkpoint(tmp_path / "part.pth", nheads=4)
    assert "transformer.decoder" in str(error.value)
    _, report = import_checkpoint(tmp_path / "part.pth", allow_partial=True, nheads=4)
    assert all(name.startswith("transformer.decoder.layers.0.norm") for name in report.missing)


def test_fine_tuning_starts_from_a_foreign_file(base_model, tiny_config, tmp_path):
    """load_pretrained reads the same layouts; the head of another size stays random."""
    export_original(base_model, tmp_path / "original.pth")
    tuned = DeformableDETR(tiny_config(num_classes=3))
    report = load_pretrained(tuned, tmp_path / "original.pth")
    assert {name.split(".")[0] for name in report.mismatched} == {"class_embed"}
    torch.testing.assert_close(tuned.query_embed.weight, base_model.query_embed.weight)


def test_other_models_are_refused(tmp_path):
    """Tensors of something else, and folders of another kind, are told apart."""
    torch.save({"model": {"weight": torch.zeros(3)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="no Deformable DETR"):
        load_checkpoint(tmp_path / "other.pth")
    (tmp_path / "config.json").write_text('{"model_type": "detr"}')
    with pytest.raises(CheckpointError, match="a detr model"):
        load_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_checkpoint(tmp_path.parent)


def test_export_refuses_what_the_layout_cannot_say(tiny_config, tmp_path):
    """The published code knows ResNet-50 at its own levels only."""
    model = DeformableDETR(tiny_config(return_interm_indices=(1,), num_feature_levels=1))
    with pytest.raises(ValueError, match="published layout knows"):
        export_original(model, tmp_path / "no.pth")
    model = DeformableDETR(tiny_config(backbone="gc_vit_xxtiny"))
    with pytest.raises(ValueError, match="needs backbone resnet_50"):
        export_huggingface(model, tmp_path)
