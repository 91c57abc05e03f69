"""Encoder, decoder and proposals on a small pyramid, without a backbone."""

import pytest
import torch
from torch import nn

from ddetr_model.decoder import DeformableDecoder, Queries
from ddetr_model.heads import BoxHead, build_heads
from ddetr_model.proposals import propose_boxes
from ddetr_model.pyramid import flatten_levels
from ddetr_model.transformer import DeformableTransformer

SHAPES_HW = [(6, 8), (3, 4)]


@pytest.fixture
def pyramid():
    """Give two levels of which the right half is padding, 60 pixels of 32 channels."""
    masks = [torch.zeros(2, *shape, dtype=torch.bool) for shape in SHAPES_HW]
    for mask in masks:
        mask[1, :, mask.shape[2] // 2 :] = True
    maps = [torch.randn(2, 32, *shape) for shape in SHAPES_HW]
    positions = [torch.randn(2, 32, *shape) for shape in SHAPES_HW]
    return flatten_levels(maps, positions, masks)


@pytest.fixture
def two_level_config(tiny_config):
    """Give a factory of configs of two levels."""

    def make(**fields):
        return tiny_config(num_feature_levels=2, return_interm_indices=(1, 2), **fields)

    return make


def random_heads(count):
    heads = nn.ModuleList(BoxHead(32) for _ in range(count))
    for head in heads:
        nn.init.normal_(head.layers[2].weight, std=0.1)
    return heads


def decode(config, pyramid):
    decoder = DeformableDecoder(config).eval()
    queries = Queries(torch.randn(2, 7, 32), torch.randn(2, 7, 32), torch.rand(2, 7, 2))
    heads = random_heads(config.dec_layers)
    return queries, heads, *decoder(queries, pyramid.pixels, pyramid, heads)


def test_encoder_gives_one_memory_a_pixel(two_level_config, pyramid):
    """(B, S, C) in, (B, S, C) out."""
    memory = DeformableTransformer(two_level_config()).encoder(pyramid)
    assert memory.shape == (2, 60, 32)


def test_padded_pixels_reach_no_other(two_level_config, pyramid):
    """What stands in the padding changes no memory of the image."""
    encoder = DeformableTransformer(two_level_config()).encoder.eval()
    memory = encoder(pyramid)
    pyramid.pixels[pyramid.padding] = 100.0
    changed = encoder(pyramid)
    torch.testing.assert_close(changed[~pyramid.padding], memory[~pyramid.padding])


def test_every_decoder_layer_gives_boxes(two_level_config, pyramid):
    """Content (B, Q, C) and boxes (B, Q, 4) from 0 to 1, a layer each."""
    _, _, contents, boxes = decode(two_level_config(), pyramid)
    assert [content.shape for content in contents] == [(2, 7, 32)] * 2
    assert [box.shape for box in boxes] == [(2, 7, 4)] * 2
    assert all((box > 0).all() and (box < 1).all() for box in boxes)


def test_refinement_starts_from_the_last_layers_box(two_level_config, pyramid):
    """Second boxes are first boxes, moved by the second head in logits."""
    _, heads, contents, boxes = decode(two_level_config(), pyramid)
    moved = (heads[1](contents[1]) + torch.logit(boxes[0])).sigmoid()
    torch.testing.assert_close(boxes[1], moved, atol=1e-5, rtol=0)


def test_without_refinement_every_layer_starts_from_the_point(two_level_config, pyramid):
    """The first reference points hold for all layers."""
    queries, heads, contents, boxes = decode(two_level_config(with_box_refine=False), pyramid)
    center = (heads[1](contents[1])[..., :2] + torch.logit(queries.reference_points)).sigmoid()
    torch.testing.assert_close(boxes[1][..., :2], center, atol=1e-5, rtol=0)


def test_refined_boxes_carry_no_gradient_to_the_next_layer(two_level_config, pyramid):
    """The second layer's box does not train the first layer's head."""
    _, heads, _, boxes = decode(two_level_config(), pyramid)
    boxes[1].sum().backward()
    assert heads[0].layers[0].weight.grad is None
    assert heads[1].layers[0].weight.grad is not None


def test_proposals_sit_on_pixels_and_double_a_level(pyramid):
    """The first pixel of a 6 x 8 level: centre 1/16, 1/12, side 0.05; 0.1 one level up."""
    logits, usable = propose_boxes(pyramid)
    boxes = logits.sigmoid()
    assert boxes[0, 0].tolist() == pytest.approx([1 / 16, 1 / 12, 0.05, 0.05], abs=1e-6)
    assert boxes[0, 48, 2:].tolist() == pytest.approx([0.1, 0.1], abs=1e-6)
    assert usable[0].all()


def test_padding_proposes_nothing(pyramid):
    """Padded pixels have infinite logits; the image's own lie within its own width."""
    logits, usable = propose_boxes(pyramid)
    assert torch.equal(usable[1], ~pyramid.padding[1])
    assert torch.isinf(logits[1][pyramid.padding[1]]).all()
    centers = logits[1][~pyramid.padding[1]].sigmoid()[:, 0]
    assert centers.max().item() == pytest.approx(1 - 1 / 8, abs=1e-6)


@pytest.mark.parametrize("padded_width", [51, 63, 66, 72])
def test_padding_moves_no_proposal_over_the_border(padded_width):
    """Of 50 pixels the first is centred at 0.01, which is out, in whatever batch it lies."""
    mask = torch.ones(1, 1, padded_width, dtype=torch.bool)
    mask[..., :50] = False
    pixels = torch.zeros(1, 4, 1, padded_width)
    alone, usable = propose_boxes(flatten_levels([pixels[..., :50]], [pixels[..., :50]], None))
    found, still_usable = propose_boxes(flatten_levels([pixels], [pixels], [mask]))
    assert usable[0].tolist() == [False, *[True] * 48, False]
    assert torch.equal(still_usable[:, :50], usable)
    assert torch.equal(found[:, :50], alone)


def test_two_stage_queries_are_the_best_proposals(two_level_config, pyramid):
    """Seven queries take the seven highest first logits outside the padding."""
    config = two_level_config(two_stage=True)
    transformer = DeformableTransformer(config).eval()
    output = transformer(pyramid, None, *build_heads(config))
    scores = output.proposals.logits[..., 0].masked_fill(pyramid.padding, float("-inf"))
    wanted = scores.topk(7, dim=1).indices
    boxes = output.proposals.box_logits.sigmoid().gather(1, wanted[..., None].expand(-1, -1, 4))
    torch.testing.assert_close(output.boxes[0], boxes, atol=1e-4, rtol=0)


def test_two_stage_with_fewer_pixels_than_queries_predicts_fewer(two_level_config, pyramid):
    """Sixty pixels cannot start a hundred queries."""
    config = two_level_config(two_stage=True, num_queries=100)
    output = DeformableTransformer(config)(pyramid, None, *build_heads(config))
    assert output.contents[-1].shape == (2, 60, 32)
