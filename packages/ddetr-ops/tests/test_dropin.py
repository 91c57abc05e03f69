"""Other projects' calls: the original function and transformers' layer."""

from __future__ import annotations

import importlib
import inspect

import pytest
import torch

from ddetr_ops import dropin, ms_deform_attn
from ddetr_ops.dropin import MSDeformAttnFunction, accelerate_transformers
from ddetr_ops.dropin.transformers import MultiScaleDeformableAttention


def test_the_originals_call_gives_the_operators_numbers(arguments):
    """apply(..., im2col_step) is differentiable and equals ms_deform_attn."""
    leaves = arguments.with_grad()
    output = MSDeformAttnFunction.apply(*leaves, 64)
    assert torch.equal(output, ms_deform_attn(*arguments))
    output.sum().backward()
    assert leaves.attention_weights.grad is not None


@pytest.mark.parametrize(
    "name", ["multi_scale_deformable_attn_pytorch", "ms_deform_attn_core_pytorch"]
)
def test_functions_without_level_starts_find_them(arguments, name):
    """mmcv's, detrex' and the original's function in plain PyTorch, sizes as tensor or as ints."""
    value, shapes, _, locations, weights = arguments
    expected = ms_deform_attn(*arguments)
    for sizes in (shapes, [tuple(pair) for pair in shapes.tolist()]):
        assert torch.equal(getattr(dropin, name)(value, sizes, locations, weights), expected)


def test_mmcv_finds_its_name(arguments):
    """mmcv and detrex call the original's function by another name."""
    output = dropin.MultiScaleDeformableAttnFunction.apply(*arguments, 64)
    assert torch.equal(output, ms_deform_attn(*arguments))


@pytest.fixture
def replaced(monkeypatch):
    """Replaces a function in one of transformers' models; gives the original and the new one."""
    pytest.importorskip("transformers", reason="transformers is not installed")

    def replace(model, name):
        module = importlib.import_module(f"transformers.models.{model}.modeling_{model}")
        original = getattr(module, name)
        monkeypatch.setattr(module, name, original)  # put back at the end
        assert accelerate_transformers(model) == [module.__name__]
        return original, getattr(module, name)

    return replace


def test_mask2former_keeps_its_numbers(arguments, replaced):
    """Its function takes no level starts."""
    original, fast = replaced("mask2former", "multi_scale_deformable_attention")
    assert fast is not original
    shapes = [tuple(pair) for pair in arguments.spatial_shapes.tolist()]
    rest = (arguments.value, shapes, arguments.sampling_locations, arguments.attention_weights)
    torch.testing.assert_close(fast(*rest), original(*rest), rtol=0, atol=1e-5)


@pytest.mark.parametrize("points", [[4, 4, 4], [3, 6, 3]])
@pytest.mark.parametrize("method", ["default", "discrete"])
def test_rt_detr_v2_may_have_other_points_on_each_level(arguments, replaced, points, method):
    """Levels with fewer points are filled up; outputs and gradients equal the original's."""
    original, fast = replaced("rt_detr_v2", "multi_scale_deformable_attention_v2")
    shapes = [tuple(pair) for pair in arguments.spatial_shapes.tolist()]
    results = []
    for function in (fast, original):
        leaves = arguments.with_grad()
        locations = leaves.sampling_locations.flatten(3, 4)  # (B, Q, M, L*P, 2)
        weights = leaves.attention_weights.flatten(3)
        output = function(leaves.value, shapes, locations, weights, points, method)
        output.square().sum().backward()
        results.append((output, leaves.value.grad, leaves.attention_weights.grad))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_every_model_of_transformers_is_found():
    """Whatever the installed transformers has, by its sources: no list of ours goes stale."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    found = dropin.models_that_sample()
    assert {"deformable_detr", "mask2former", "rt_detr", "rt_detr_v2", "d_fine"} <= set(found)


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


@pytest.mark.parametrize("given", ["tensors", "ints", "both"])
def test_levels_may_be_tensors_or_ints(arguments, given):
    """transformers passes both; either is enough."""
    value, shapes, starts, *points = arguments
    sizes = [tuple(pair) for pair in shapes.tolist()]
    levels = {"tensors": (shapes, None, starts), "ints": (None, sizes, None)}
    chosen = levels.get(given, (shapes, sizes, starts))
    output = MultiScaleDeformableAttention()(value, *chosen, *points, 64)
    assert torch.equal(output, ms_deform_attn(*arguments))


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
