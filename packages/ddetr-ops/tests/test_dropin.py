"""Other projects' calls: the original function and transformers' layer."""

from __future__ import annotations

import importlib
import inspect

import pytest
import torch

from ddetr_ops import ms_deform_attn
from ddetr_ops.dropin import (
    MSDeformAttnFunction,
    MultiScaleDeformableAttention,
    accelerate_transformers,
)


def test_the_originals_call_gives_the_operators_numbers(arguments):
    """apply(..., im2col_step) is differentiable and equals ms_deform_attn."""
    leaves = arguments.with_grad()
    output = MSDeformAttnFunction.apply(*leaves, 64)
    assert torch.equal(output, ms_deform_attn(*arguments))
    output.sum().backward()
    assert leaves.attention_weights.grad is not None


@pytest.fixture
def transformers_modules():
    """transformers' modeling modules, restored afterwards."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    name = "transformers.models.deformable_detr.modeling_deformable_detr"
    original = importlib.import_module(name).MultiScaleDeformableAttention
    changed = [importlib.import_module(path) for path in accelerate_transformers("deformable_detr")]
    yield original, changed
    for module in changed:
        module.MultiScaleDeformableAttention = original


def test_the_replacement_takes_what_transformers_passes(transformers_modules):
    """Same argument names in the same order."""
    original, changed = transformers_modules
    names = list(inspect.signature(original.forward).parameters)
    assert list(inspect.signature(MultiScaleDeformableAttention.forward).parameters) == names
    assert any(module.__name__.endswith("modeling_deformable_detr") for module in changed)


def test_a_model_without_the_layer_is_refused():
    """Nothing is replaced without a word."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    with pytest.raises(ImportError, match="no MultiScaleDeformableAttention"):
        accelerate_transformers("bert")


def test_deformable_detr_of_transformers_keeps_its_answers(transformers_modules):
    """A small random model gives the same logits and boxes to 1e-5 with the layer replaced."""
    transformers = pytest.importorskip("transformers")
    original, changed = transformers_modules
    config = transformers.DeformableDetrConfig(
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=20,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=transformers.ResNetConfig(
            embedding_size=8,
            hidden_sizes=[8, 16, 16, 16],
            depths=[1, 1, 1, 1],
            out_features=["stage2", "stage3", "stage4"],
        ),
    )
    (module,) = [m for m in changed if m.__name__.endswith("modeling_deformable_detr")]
    fast = transformers.DeformableDetrForObjectDetection(config).eval()
    module.MultiScaleDeformableAttention = original
    slow = transformers.DeformableDetrForObjectDetection(config).eval()
    slow.load_state_dict(fast.state_dict())
    layers = [m for m in fast.modules() if isinstance(m, MultiScaleDeformableAttention)]
    assert len(layers) == 4
    images = torch.randn(1, 3, 128, 160)
    with torch.no_grad():
        found, expected = fast(images), slow(images)
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.pred_boxes, expected.pred_boxes, rtol=0, atol=1e-5)
