"""A whole model in half or double precision, not under autocast."""

import pytest
import torch

from ddetr_model import DeformableDETR, SetCriterion
from ddetr_model.boxes import inverse_sigmoid
from ddetr_model.precision import widen

pytestmark = pytest.mark.usefixtures("shallow_resnet")

BOX_TOLERANCE = {torch.float16: 0.02, torch.bfloat16: 0.1}  # 11 and 8 bits through some layers
EXACT = 1e-9  # of float64 against itself, where float32 would give 1e-7


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_only_half_precision_is_widened(dtype):
    """float64 stays, so that a gradient can be checked in it."""
    wanted = torch.float64 if dtype is torch.float64 else torch.float32
    assert widen(torch.ones(2, dtype=dtype)).dtype is wanted


@torch.no_grad()
@pytest.mark.parametrize("two_stage", [False, True])
@pytest.mark.parametrize("dtype", BOX_TOLERANCE)
def test_a_half_precision_model_detects(dtype, two_stage, tiny_config, mixed_batch):
    """model.half() gives float32 boxes near those of the float32 model."""
    model = DeformableDETR(tiny_config(two_stage=two_stage)).eval()
    images, mask = mixed_batch
    wanted = model(images, mask).pred_boxes
    found = model.to(dtype)(images.to(dtype), mask)
    assert found.pred_boxes.dtype is torch.float32
    assert found.pred_logits.isfinite().all()
    if not two_stage:  # where rounding may choose other proposals
        torch.testing.assert_close(found.pred_boxes, wanted, atol=BOX_TOLERANCE[dtype], rtol=0)


@pytest.mark.parametrize("fields", [{"two_stage": True}, {"denoising_groups": 2}])
def test_a_double_precision_model_trains(fields, tiny_detector, mixed_batch, targets):
    """Boxes, losses and gradients are float64 throughout."""
    model = tiny_detector(**fields).double()
    images, mask = mixed_batch
    wide = [{**target, "boxes": target["boxes"].double()} for target in targets]
    outputs = model(images.double(), mask, wide)
    assert outputs.pred_boxes.dtype is torch.float64
    criterion = SetCriterion(model.losses)
    total = criterion.total_loss(criterion(outputs, wide))
    assert total.dtype is torch.float64
    total.backward()
    assert all(p.grad.dtype is torch.float64 for p in model.parameters() if p.grad is not None)


def test_logits_of_a_double_are_exact():
    """The way to a logit and back loses nothing that float64 holds."""
    x = torch.tensor([0.1, 1 / 3, 0.9], dtype=torch.float64)
    torch.testing.assert_close(inverse_sigmoid(x).sigmoid(), x, atol=EXACT, rtol=0)
