"""An image has one answer: alone, in a batch of mixed sizes, and with extra padding."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ddetr_model import DeformableDETR
from ddetr_model.padding import MaskedGroupNorm, downsample_mask, valid_ratios

ANSWER_TOLERANCE = 1e-4  # float32 through a ResNet-50
pytestmark = pytest.mark.usefixtures("shallow_resnet")

VARIANTS = {
    "base": {"with_box_refine": False},
    "box_refine": {},
    "two_stage": {"two_stage": True},
    "five_levels": {"num_feature_levels": 5, "return_interm_indices": (0, 1, 2, 3, 4)},
    "dc5": {"num_feature_levels": 1, "return_interm_indices": (3,), "dilation": True},
    "gc_vit": {"backbone": "gc_vit_xxtiny"},
}


def build(config, perturb):
    """Make a model whose padding would show: norms that turn zero into something."""
    model = perturb(DeformableDETR(config), scale=0.02)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.bias.add_(0.3)
                module.running_mean.normal_(0, 0.1)
    return model.eval()


def assert_same_answer(found, wanted):
    for one, other in zip(found[:2], wanted[:2], strict=True):  # pred_logits and pred_boxes
        torch.testing.assert_close(one, other, atol=ANSWER_TOLERANCE, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_changes_no_answer(variant, tiny_config, perturb, mixed_batch):
    """57 x 70 pixels give the same numbers alone, in 80 x 96 and in 130 x 161."""
    model = build(tiny_config(**VARIANTS[variant]), perturb)
    images, mask = mixed_batch
    alone = model(images[1:, :, :57, :70])
    both = model(images, mask)
    assert_same_answer([value[1:] for value in both[:2]], alone)
    wider = F.pad(images[1:], (0, 65, 0, 50))
    wider_mask = F.pad(mask[1:], (0, 65, 0, 50), value=True)
    assert_same_answer(model(wider, wider_mask), alone)


@torch.no_grad()
def test_published_arithmetic_lets_padding_leak(tiny_config, perturb, mixed_batch):
    """padding_invariant=False is what the switch says: the batch then changes the answer."""
    model = build(tiny_config(padding_invariant=False), perturb)
    images, mask = mixed_batch
    alone = model(images[1:, :, :57, :70]).pred_logits
    assert (model(images, mask).pred_logits[1:] - alone).abs().max() > ANSWER_TOLERANCE


@torch.no_grad()
def test_mask_without_padding_changes_nothing(tiny_config, perturb):
    """An all-false mask is the same as none."""
    model = build(tiny_config(), perturb)
    images = torch.randn(2, 3, 64, 96)
    assert_same_answer(model(images, torch.zeros(2, 64, 96, dtype=torch.bool)), model(images))


@torch.no_grad()
@pytest.mark.parametrize("size_hw", [(1, 1), (5, 90), (33, 17)])
def test_maps_of_one_pixel_work(size_hw, tiny_config, perturb):
    """Images smaller than the coarsest stride give finite predictions."""
    outputs = build(tiny_config(), perturb)(torch.randn(1, 3, *size_hw))
    assert torch.isfinite(outputs.pred_logits).all()
    assert torch.isfinite(outputs.pred_boxes).all()


@pytest.mark.parametrize("stride", [4, 8, 16, 32, 64])
def test_downsampled_mask_has_the_rows_of_the_image_alone(stride):
    """A map at stride s of 57 rows has ceil(57 / s) valid rows, however it is padded."""
    mask = torch.ones(1, 130, 161, dtype=torch.bool)
    mask[:, :57, :70] = False
    small = downsample_mask(mask, (-(-130 // stride), -(-161 // stride)))
    assert (~small[0, :, 0]).sum() == -(-57 // stride)
    assert (~small[0, 0]).sum() == -(-70 // stride)


def test_valid_ratio_by_hand():
    """3 of 4 columns and 1 of 2 rows are image."""
    mask = torch.tensor([[[False, False, False, True], [True] * 4]])
    assert valid_ratios(mask).tolist() == [[0.75, 0.5]]


def test_masked_group_norm_equals_the_norm_of_the_image_alone():
    """Statistics come from the valid corner only."""
    norm = MaskedGroupNorm(2, 4)
    nn.init.normal_(norm.weight)
    features = torch.randn(1, 4, 5, 6)
    mask = torch.ones(1, 5, 6, dtype=torch.bool)
    mask[:, :3, :4] = False
    normalised = norm(features, mask)[:, :, :3, :4]
    torch.testing.assert_close(normalised, nn.GroupNorm.forward(norm, features[:, :, :3, :4]))
