"""The summary's figures are the paper's."""

import math

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ddetr_model import DeformableDETR, ModelConfig, summarize
from ddetr_ops import MSDeformAttn

# Of resnet18 with one layer each at 128 x 160, as fvcore 0.1.5 counts with the same rules for
# attention.
FVCORES_FIGURES = {
    "backbone": 742_256_640,
    "input_proj": 25_973_248,
    "transformer.encoder": 330_875_904,
    "transformer.decoder": 406_004_736,
    "queries, embeddings and heads": 7_142_400,
}


@pytest.mark.usefixtures("shallow_resnet")
def test_parts_add_up(tiny_config):
    """Every parameter and operation belongs to one part."""
    model = DeformableDETR(tiny_config())
    summary = summarize(model, image_size_hw=(64, 96))
    assert summary.total_parameters == sum(p.numel() for p in model.parameters())
    assert all(count > 0 for count in summary.flops.values())
    assert summary.activation_bytes > 0
    assert "transformer.encoder" in summary.table()
    assert model.training


@pytest.mark.usefixtures("shallow_resnet")
def test_attention_is_counted(tiny_config):
    """More sampling points cost more in the encoder, by more than the projections' share."""
    few, many = (
        summarize(DeformableDETR(tiny_config(enc_n_points=points)), (64, 96)).flops
        for points in (1, 8)
    )
    pixels, levels, heads, points, channels = 12 * 8 + 6 * 4 + 3 * 2 + 2 * 1, 4, 4, 7, 32
    projections = pixels * levels * heads * points * 3 * channels
    samples = pixels * levels * heads * points * 5 * (channels // heads)
    found = many["transformer.encoder"] - few["transformer.encoder"]
    assert found == pytest.approx(projections + samples, rel=0.01)


@pytest.mark.usefixtures("shallow_resnet")
def test_self_attention_is_counted(tiny_config):
    """Twice the queries cost four times the dot products, and twice everything else."""
    one, two, four = (
        summarize(DeformableDETR(tiny_config(num_queries=count)), (64, 96)).flops
        for count in (100, 200, 400)
    )
    decoder = [flops["transformer.decoder"] for flops in (one, two, four)]
    layers, channels = 2, 32
    bend = decoder[2] - 3 * decoder[1] + 2 * decoder[0]  # a line would give none
    assert bend == layers * 2 * channels * (400**2 - 3 * 200**2 + 2 * 100**2)


def test_figures_are_those_of_another_counter():
    """By part, to the last operation."""
    pytest.importorskip("timm")
    config = ModelConfig(backbone="timm:resnet18", enc_layers=1, dec_layers=1)
    assert summarize(DeformableDETR(config), (128, 160)).flops == FVCORES_FIGURES


@pytest.mark.usefixtures("shallow_resnet")
def test_figures_agree_with_the_counter_of_torch(tiny_config):
    """On real tensors it has two for a multiplication and its addition; norms and samples apart."""
    model = DeformableDETR(tiny_config()).eval().requires_grad_(False)
    apart = []

    def count(module, inputs, output):
        if isinstance(module, MSDeformAttn):
            queries, levels = inputs[0].shape[1], len(inputs[3])
            points = module.n_heads * levels * module.n_points
            apart.append(5 * queries * points * (module.d_model // module.n_heads))
        else:
            apart.append({nn.BatchNorm2d: 2}.get(type(module), 5) * output.numel())

    counted = (MSDeformAttn, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
    for module in model.modules():
        if isinstance(module, counted):
            module.register_forward_hook(count)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:  # torch 2.11 counts no other
        model(torch.zeros(1, 3, 64, 96))
    expected = counter.get_total_flops() / 2 + math.fsum(apart)
    assert summarize(model, (64, 96)).total_flops == expected


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["gc_vit_xxtiny", "timm:regnetx_002", "timm:resnet18"])
def test_every_backbone_has_a_summary(backbone, tiny_config):
    """Parameters, operations and activations of the backbone are counted."""
    if backbone.startswith("timm:"):
        pytest.importorskip("timm")
    summary = summarize(DeformableDETR(tiny_config(backbone=backbone)), (64, 96))
    assert summary.parameters["backbone"] > 2e6
    assert summary.flops["backbone"] > 1e7
    assert summary.activation_bytes > 2**20


def test_r50_has_the_papers_size():
    """40 M parameters; 173 GFLOPs is the paper's mean over images near 800 x 1066.

    An operation is counted per pixel or per query: two small images tell what a large one costs.
    """
    model = DeformableDETR(ModelConfig(with_box_refine=False))
    small, larger = (summarize(model, (side, side)) for side in (128, 256))
    per_pixel = (larger.total_flops - small.total_flops) / (256**2 - 128**2)
    at_papers_size = small.total_flops + per_pixel * (800 * 1066 - 128**2)
    assert small.total_parameters / 1e6 == pytest.approx(40, rel=0.01)
    assert at_papers_size / 1e9 == pytest.approx(173, rel=0.05)
    assert "173 GFLOPs" in small.table()
