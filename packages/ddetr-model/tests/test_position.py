"""Sine encodings by hand and under padding."""

import math

import pytest
import torch

from ddetr_model.position import SinePositionEncoding, encode_coordinates


def test_one_coordinate_by_hand():
    """A quarter turn on the longest wave: sine 1 and cosine 0 of 2 pi / 4, then the next wave."""
    encoded = encode_coordinates(torch.tensor([[0.25]]), num_features=4)[0]
    slower = math.pi / 2 / 10000**0.5
    wanted = [1.0, 0.0, math.sin(slower), math.cos(slower)]
    assert encoded.tolist() == pytest.approx(wanted, abs=1e-6)


def test_coordinates_stand_side_by_side():
    """Four coordinates of six numbers each are 24 numbers in their order."""
    boxes = torch.rand(2, 3, 4)
    encoded = encode_coordinates(boxes, num_features=6)
    assert encoded.shape == (2, 3, 24)
    torch.testing.assert_close(encoded[..., 6:12], encode_coordinates(boxes[..., 1:2], 6))


def test_y_comes_before_x():
    """Moving down changes the first half of the channels, moving right the second."""
    encoding = SinePositionEncoding(8)((3, 5), None, torch.device("cpu"))[0]
    assert encoding.shape == (8, 3, 5)
    torch.testing.assert_close(encoding[:4, :, 0], encoding[:4, :, 4])
    torch.testing.assert_close(encoding[4:, 0], encoding[4:, 2])
    assert not torch.allclose(encoding[:4, 0], encoding[:4, 2])


def test_mask_without_padding_is_no_mask():
    """Counting unpadded pixels is the same as numbering them."""
    encode, device = SinePositionEncoding(8), torch.device("cpu")
    plain = encode((3, 5), None, device)
    masked = encode((3, 5), torch.zeros(2, 3, 5, dtype=torch.bool), device)
    torch.testing.assert_close(masked, plain.expand(2, -1, -1, -1))


def test_padding_does_not_move_the_image():
    """A 3 x 5 corner of 6 x 9 is encoded as a 3 x 5 image."""
    encode, device = SinePositionEncoding(8), torch.device("cpu")
    mask = torch.ones(1, 6, 9, dtype=torch.bool)
    mask[:, :3, :5] = False
    corner = encode((6, 9), mask, device)[..., :3, :5]
    torch.testing.assert_close(corner, encode((3, 5), None, device))
