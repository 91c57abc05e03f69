"""The vectorised criterion equals loops over layers, images and pairs."""

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torchvision.ops import box_convert, generalized_box_iou

from ddetr_model import DetectorOutput, LayerOutput, LossConfig, SetCriterion

LOSS_TOLERANCE = 1e-5  # float32 sums in another order


def plain_losses(config, outputs, targets, num_boxes):
    """Give every loss of a criterion, computed one layer and one image at a time."""
    layers = {f"_{i}": layer for i, layer in enumerate(outputs.aux_outputs)}
    layers[""] = outputs
    losses = {}
    for suffix, layer in layers.items():
        losses |= _layer_losses(config, layer, targets, num_boxes, suffix)
    if outputs.enc_outputs is not None:
        binary = [{**target, "labels": torch.zeros_like(target["labels"])} for target in targets]
        losses |= _layer_losses(config, outputs.enc_outputs, binary, num_boxes, "_enc")
    return losses


def _layer_losses(config, layer, targets, num_boxes, suffix):
    focal = l1 = giou = 0.0
    for logits, boxes, target in zip(layer.pred_logits, layer.pred_boxes, targets, strict=True):
        queries, objects = _match(config, logits, boxes, target)
        wanted = torch.zeros_like(logits)
        for query, index in zip(queries, objects, strict=True):
            wanted[query, target["labels"][index]] = 1.0
            l1 += (boxes[query] - target["boxes"][index]).abs().sum()
            giou += 1 - _giou(boxes[query][None], target["boxes"][index][None])[0, 0]
        focal += _focal(logits, wanted, config.focal_alpha)
    named = {"loss_ce": focal, "loss_bbox": l1, "loss_giou": giou}
    return {name + suffix: value / num_boxes for name, value in named.items()}


def _match(config, logits, boxes, target):
    p = logits.detach().sigmoid()[:, target["labels"]]
    alpha = config.focal_alpha
    positive = alpha * (1 - p) ** 2 * -(p + 1e-8).log()
    negative = (1 - alpha) * p**2 * -(1 - p + 1e-8).log()
    cost = config.cls_loss_coef * (positive - negative)
    cost = cost + config.bbox_loss_coef * torch.cdist(boxes.detach(), target["boxes"], p=1)
    cost = cost - config.giou_loss_coef * _giou(boxes.detach(), target["boxes"])
    return linear_sum_assignment(cost)


def _giou(boxes, others):
    corners = (box_convert(each, "cxcywh", "xyxy") for each in (boxes, others))
    return generalized_box_iou(*corners)


def _focal(logits, wanted, alpha):
    p = logits.sigmoid()
    right = torch.where(wanted > 0, p, 1 - p)
    weight = torch.where(wanted > 0, alpha, 1 - alpha)
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (weight * (1 - right) ** 2 * entropy).sum()


def random_outputs(proposals):
    def layer(count):
        logits = torch.randn(2, count, 5, requires_grad=True)
        boxes = torch.rand(2, count, 4) * 0.5 + 0.2
        return LayerOutput(logits, boxes.requires_grad_())

    *earlier, last = [layer(7) for _ in range(3)]
    first_stage = None if proposals is None else layer(proposals)
    return DetectorOutput(*last, aux_outputs=tuple(earlier), enc_outputs=first_stage)


@pytest.mark.parametrize("proposals", [None, 20])
def test_criterion_equals_a_plain_loop(targets, proposals):
    """All layers at once give the losses and gradients of one layer and image at a time."""
    config, outputs = LossConfig(), random_outputs(proposals)
    losses = SetCriterion(config)(outputs, targets)
    wanted = plain_losses(config, outputs, targets, 4.0)
    assert set(wanted) == {name for name in losses if name.startswith("loss_")}
    for name, value in wanted.items():
        assert losses[name].item() == pytest.approx(value.item(), abs=LOSS_TOLERANCE), name
    leaves = [outputs.pred_logits, outputs.aux_outputs[0].pred_boxes]
    mine = torch.autograd.grad(sum(losses[name] for name in wanted), leaves)
    theirs = torch.autograd.grad(sum(wanted.values()), leaves)
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)
