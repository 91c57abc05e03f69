"""patch() on the layers and models of Hugging Face transformers, as they are installed."""

from __future__ import annotations

import importlib
import inspect

import pytest
import torch
from torch import nn

import ddetr_ops
from ddetr_ops import dropin

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

SIZES = [(12, 16), (6, 8), (3, 4)]
KIND = "MultiscaleDeformableAttention"
MODELS = dropin.models_that_sample()


def make_layer(model):
    """The attention layer of one of transformers' models, and how many levels it has."""
    module = importlib.import_module(f"transformers.models.{model}.modeling_{model}")
    (name,) = [each for each in vars(module) if each.endswith(KIND)]
    found = getattr(module, name)
    names = list(inspect.signature(found).parameters)
    if "embed_dim" in names:
        return found(64, 4, 3, 4), 3
    config = getattr(transformers, f"{name.removesuffix(KIND)}Config")()
    if not getattr(config, "num_feature_levels", 1):  # LW-DETR counts its projector's
        config.num_feature_levels = 2
    layer = found(config) if names == ["config"] else found(config, 8, 4)
    return layer, layer.n_levels


@pytest.mark.parametrize("model", MODELS)
def test_every_layer_of_transformers_keeps_its_numbers(model):
    """Outputs and gradients to rounding, with boxes as references."""
    # fault 57
    layer, levels = make_layer(model)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.05)
    sizes = (SIZES * 2)[:levels]
    areas = torch.tensor([height * width for height, width in sizes])
    channels = layer.d_model
    pixels = torch.randn(2, int(areas.sum()), channels)
    inputs = {
        "encoder_hidden_states": pixels,
        "position_embeddings": torch.randn(2, 7, channels),
        "reference_points": torch.rand(2, 7, levels, 4) * 0.5 + 0.25,
        "spatial_shapes": torch.tensor(sizes),
        "spatial_shapes_list": sizes,
        "level_start_index": areas.cumsum(0) - areas,
    }
    if "d_fine" in model or "deimv2" in model or "rt_detr_v2" in model:
        inputs["reference_points"] = inputs["reference_points"][:, :, :1]
    accepted = inspect.signature(type(layer).forward).parameters
    inputs = {name: each for name, each in inputs.items() if name in accepted}
    query = torch.randn(2, 7, channels)

    def run():
        layer.zero_grad()
        output, _ = layer(hidden_states=query, **inputs)
        output.square().mean().backward()
        return output.detach(), *(each.grad.clone() for each in layer.parameters())

    before, report = run(), ddetr_ops.patch(layer)
    assert len(report.replaced) == 1
    assert report.replaced[0].project == "transformers"
    for found, expected in zip(run(), before, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    report.undo()
    assert all(map(torch.equal, run(), before))


def small_detector():
    """A Deformable DETR of a few thousand parameters."""
    backbone = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 16, 16],
        depths=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.DeformableDetrConfig(
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=20,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
    )
    return transformers.DeformableDetrForObjectDetection(config).eval()


def test_a_detector_that_is_built_keeps_its_answers(tmp_path):
    """Logits and boxes; it is saved and loaded as before, and a second one is not touched."""
    # fault 57
    model, other = small_detector(), small_detector()
    images = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        expected = model(images)
        report = ddetr_ops.patch(model)
        found = model(images)
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.pred_boxes, expected.pred_boxes, rtol=0, atol=1e-5)
    assert [each.class_name for each in report.replaced] == ["MultiScaleDeformableAttention"] * 3
    assert all(each.path.endswith("attn.attn") for each in report.replaced)
    assert report.left == ()
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert list(loaded.state_dict()) == list(model.state_dict())
    assert len(ddetr_ops.patch(other).replaced) == 3
