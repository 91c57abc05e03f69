"""Boxes by hand."""

import pytest
import torch
from torchvision.ops import generalized_box_iou

from ddetr_model.boxes import cxcywh_to_xyxy, generalized_iou, inverse_sigmoid, refine_boxes


def test_center_form_becomes_corner_form():
    """A box of 4 x 2 around (3, 5) spans 1..5 and 4..6."""
    box = torch.tensor([3.0, 5.0, 4.0, 2.0])
    assert cxcywh_to_xyxy(box).tolist() == [1.0, 4.0, 5.0, 6.0]


def test_giou_of_two_boxes_by_hand():
    """Overlap 1 of union 7 in a hull of 9: 1/7 - 2/9."""
    one, other = torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([1.0, 1.0, 3.0, 3.0])
    assert generalized_iou(one, other).item() == pytest.approx(1 / 7 - 2 / 9)


def test_giou_equals_torchvision_on_random_pairs():
    """All pairs by broadcasting are torchvision's matrix."""
    ours = cxcywh_to_xyxy(torch.rand(6, 4) * 0.5 + 0.1)
    theirs = cxcywh_to_xyxy(torch.rand(5, 4) * 0.5 + 0.1)
    wanted = generalized_box_iou(ours, theirs)
    torch.testing.assert_close(generalized_iou(ours[:, None], theirs[None]), wanted)


def test_boxes_without_area_have_finite_giou_and_gradient():
    """A prediction that has collapsed to a point can still be pulled apart."""
    point = torch.tensor([0.5, 0.5, 0.5, 0.5], requires_grad=True)
    value = generalized_iou(point, torch.tensor([0.5, 0.5, 0.5, 0.5]))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(point.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_inverse_sigmoid_is_finite_at_the_ends(dtype):
    """Zero and one give the logits of eps and 1 - eps, also in half precision."""
    ends = inverse_sigmoid(torch.tensor([0.0, 0.5, 1.0], dtype=dtype))
    assert ends.tolist() == pytest.approx([-11.5129, 0.0, 11.5129], abs=1e-3)


def test_refinement_by_zero_keeps_the_reference():
    """A box reference stays; a point reference keeps its centre and takes sigmoid(0) as size."""
    box = torch.tensor([0.2, 0.3, 0.4, 0.1])
    torch.testing.assert_close(refine_boxes(torch.zeros(4), box), box)
    wanted = torch.tensor([0.2, 0.3, 0.5, 0.5])
    torch.testing.assert_close(refine_boxes(torch.zeros(4), box[:2]), wanted)
