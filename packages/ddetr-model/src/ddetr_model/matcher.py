"""Bipartite matching of predictions and objects (Carion et al. 2020, section 3.1).

N decoder layers, B images, Q queries, C classes, T the most targets of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from ddetr_model.boxes import cxcywh_to_xyxy, generalized_iou
from ddetr_model.config import LossConfig
from ddetr_model.focal import focal_loss_difference
from ddetr_model.outputs import DetectorOutput, LayerOutput
from ddetr_model.precision import widen

__all__ = ["HungarianMatcher", "Matches", "PaddedTargets", "Predictions", "pad_targets"]

WORST_COST = 1e6  # stands for NaN and infinity, which the solver refuses


class Predictions(NamedTuple):
    """Predictions of several decoder layers."""

    logits: Tensor  # (N, B, Q, C)
    boxes: Tensor  # (N, B, Q, 4) cxcywh


class PaddedTargets(NamedTuple):
    """The objects of all images side by side; rows beyond an image's count mean nothing."""

    labels: Tensor  # (B, T)
    boxes: Tensor  # (B, T, 4) cxcywh
    counts: tuple[int, ...]  # B numbers of objects
    weights: Tensor | None = None  # (B, T), of the class loss; None: all weigh 1


class Matches(NamedTuple):
    """One entry a matched pair; together they index predictions and padded targets."""

    layers: Tensor  # (M,)
    images: Tensor  # (M,)
    queries: Tensor  # (M,)
    targets: Tensor  # (M,), within the image


class HungarianMatcher(nn.Module):
    """Pairs each object with one query so that the summed cost is least."""

    def __init__(self, config: LossConfig) -> None:
        """Take the weights of the three costs and the focal alpha from config."""
        super().__init__()
        self.class_cost = config.cls_loss_coef
        self.box_cost = config.bbox_loss_coef
        self.giou_cost = config.giou_loss_coef
        self.focal_alpha = config.focal_alpha

    @torch.no_grad()
    def forward(
        self, outputs: LayerOutput | DetectorOutput, targets: Sequence[dict[str, Tensor]]
    ) -> list[tuple[Tensor, Tensor]]:
        """Match the outputs of one layer, of a whole detector those of the last.

        Returns:
            For each image the matched query indices and target indices, min(Q, targets) of each.
        """
        predictions = Predictions(outputs.pred_logits[None], outputs.pred_boxes[None])
        padded = pad_targets(targets, widen(outputs.pred_boxes).dtype)
        (matches,) = self.match([predictions], [padded])
        of_image = [matches.images == image for image in range(len(targets))]
        return [(matches.queries[chosen], matches.targets[chosen]) for chosen in of_image]

    @torch.no_grad()
    def match(
        self, predictions: Sequence[Predictions], targets: Sequence[PaddedTargets]
    ) -> list[Matches]:
        """Match groups of layers, which may differ in Q, with one copy from the device in all."""
        # Each copy waits for all that the device has still to do, so there is one for all layers.
        costs = [self.cost(*group) for group in zip(predictions, targets, strict=True)]
        on_host = torch.cat([cost.flatten() for cost in costs]).cpu().numpy()
        ends = np.cumsum([cost.numel() for cost in costs])[:-1]
        return [
            _solve(part.reshape(cost.shape), objects.counts, cost.device)
            for part, cost, objects in zip(np.split(on_host, ends), costs, targets, strict=True)
        ]

    def cost(self, predictions: Predictions, targets: PaddedTargets) -> Tensor:
        """Price every pair of a query and an object of its image, (N, B, Q, T), finite."""
        # Float32 under autocast too: in 16 bits two queries' costs would tie, and matches flicker.
        logits, boxes = widen(predictions.logits), widen(predictions.boxes)
        labels = targets.labels[None, :, None].expand(*logits.shape[:3], -1)
        # What the loss would change if this query were the object; DETR takes the probability.
        class_cost = focal_loss_difference(logits.gather(-1, labels), self.focal_alpha)
        mine, theirs = boxes[..., :, None, :], targets.boxes[None, :, None]
        planes = zip(mine.unbind(-1), theirs.unbind(-1), strict=True)  # (N, B, Q, 1), (1, B, 1, T)
        box_cost = torch.stack([(one - other).abs() for one, other in planes]).sum(0)
        giou = generalized_iou(cxcywh_to_xyxy(mine), cxcywh_to_xyxy(theirs))
        cost = self.class_cost * class_cost + self.box_cost * box_cost - self.giou_cost * giou
        return cost.nan_to_num(WORST_COST, WORST_COST, WORST_COST)


def pad_targets(
    targets: Sequence[dict[str, Tensor]], dtype: torch.dtype = torch.float32
) -> PaddedTargets:
    """Put images' labels (N,) and boxes (N, 4) side by side, padded to the largest N."""
    counts = tuple(len(target["labels"]) for target in targets)
    labels = [target["labels"].long() for target in targets]
    boxes = [target["boxes"].to(dtype).reshape(-1, 4) for target in targets]
    pad = torch.nn.utils.rnn.pad_sequence
    return PaddedTargets(pad(labels, batch_first=True), pad(boxes, batch_first=True), counts)


def _solve(cost: np.ndarray[Any, Any], counts: Sequence[int], device: torch.device) -> Matches:
    pairs = []
    for layer, image in np.ndindex(*cost.shape[:2]):
        # Without the padded columns: an object that is none would take a query from a real one.
        queries, targets = linear_sum_assignment(cost[layer, image, :, : counts[image]])
        where = np.broadcast_to([[layer], [image]], (2, len(queries)))
        pairs.append(np.concatenate([where, [queries, targets]]))
    joined = np.concatenate(pairs, axis=1).astype(np.int64)
    return Matches(*torch.from_numpy(joined).to(device).unbind())
