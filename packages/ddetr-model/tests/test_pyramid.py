"""Levels in one row, and where each pixel lies."""

import pytest
import torch

from ddetr_model.pyramid import flatten_levels


def build(shapes_hw, masks=None):
    maps = [torch.randn(2, 4, *shape) for shape in shapes_hw]
    positions = [torch.randn(1, 4, *shape) for shape in shapes_hw]
    return maps, flatten_levels(maps, positions, masks)


def padded(height, width, valid_hw):
    mask = torch.ones(2, height, width, dtype=torch.bool)
    mask[:, : valid_hw[0], : valid_hw[1]] = False
    return mask


def test_levels_lie_one_after_the_other_row_by_row():
    """Pixel (1, 2) of the second level, 3 wide, is place 4 * 6 + 1 * 3 + 2."""
    maps, pyramid = build([(4, 6), (2, 3)])
    assert pyramid.pixels.shape == (2, 30, 4)
    assert pyramid.shapes_hw == ((4, 6), (2, 3))
    torch.testing.assert_close(pyramid.pixels[:, 24 + 5], maps[1][:, :, 1, 2])


def test_pixel_centers_by_hand():
    """A 1 x 2 level has its centres at x 1/4 and 3/4, y 1/2."""
    _, pyramid = build([(1, 2), (2, 1)])
    wanted = [[0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75]]
    assert pyramid.pixel_centers()[0].tolist() == wanted


def test_without_padding_every_level_sees_the_same_place():
    """Reference points are the centres, whatever the level."""
    _, pyramid = build([(4, 6), (2, 3)])
    points = pyramid.reference_points()
    assert points.shape == (1, 30, 2, 2)
    torch.testing.assert_close(points[:, :, 0], pyramid.pixel_centers())
    torch.testing.assert_close(points[:, :, 1], pyramid.pixel_centers())


def test_reference_points_reach_a_pixel_of_the_same_place_on_each_level():
    """In an image of half the width, a level's own pixel is found at its own centre."""
    masks = [padded(4, 8, (4, 4)), padded(2, 4, (2, 2))]
    _, pyramid = build([(4, 8), (2, 4)], masks)
    assert pyramid.valid_ratios[0].tolist() == [[0.5, 1.0], [0.5, 1.0]]
    own = pyramid.reference_points()[0, :32, 0].reshape(4, 8, 2)
    torch.testing.assert_close(own[0, :, 0], (torch.arange(8) + 0.5) / 8)
    torch.testing.assert_close(own[:, 0, 1], (torch.arange(4) + 0.5) / 4)


def test_reference_points_do_not_depend_on_the_amount_of_padding():
    """In pixels of a level, a place is the same in 4 x 8 and in 6 x 11."""
    small = build([(4, 8)], [padded(4, 8, (3, 4))])[1]
    large = build([(6, 11)], [padded(6, 11, (3, 4))])[1]
    in_small = small.reference_points()[0, :, 0] * torch.tensor([8.0, 4.0])
    in_large = large.reference_points()[0, :, 0] * torch.tensor([11.0, 6.0])
    first = in_small.reshape(4, 8, 2)[:3, :4]
    torch.testing.assert_close(in_large.reshape(6, 11, 2)[:3, :4], first)


def test_per_pixel_repeats_each_level():
    """One number a level becomes one number a pixel."""
    _, pyramid = build([(1, 3), (1, 2)])
    repeated = pyramid.per_pixel(torch.tensor([[[7.0], [9.0]]]))
    assert repeated[0, :, 0].tolist() == [7, 7, 7, 9, 9]


@pytest.mark.parametrize("with_masks", [False, True])
def test_padding_is_there_only_if_masks_are(with_masks):
    """Without masks the pyramid has no padding tensor and one geometry for the batch."""
    masks = [padded(2, 2, (2, 2))] if with_masks else None
    _, pyramid = build([(2, 2)], masks)
    assert (pyramid.padding is not None) is with_masks
    assert len(pyramid.valid_ratios) == (2 if with_masks else 1)
