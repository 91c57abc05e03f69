"""The losses of Deformable DETR: focal for classes, L1 and GIoU for boxes, on every layer at once.

N decoder layers, B images, Q queries, C classes, M matched pairs of all layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed
from torch import Tensor, nn

from ddetr_model.boxes import cxcywh_to_xyxy, generalized_iou
from ddetr_model.config import LossConfig
from ddetr_model.focal import focal_loss, focal_loss_difference
from ddetr_model.matcher import (
    HungarianMatcher,
    Matches,
    PaddedTargets,
    Predictions,
    pad_targets,
)
from ddetr_model.outputs import DenoisedOutput, DetectorOutput, LayerOutput
from ddetr_model.precision import widen
from ddetr_model.regions import find_ignored, pad_regions

__all__ = ["SetCriterion"]

NO_OBJECT_LOGIT = -1e4  # of a query that is not judged: its focal loss is zero, and its gradient


class SetCriterion(nn.Module):
    """Matches predictions with objects and says how wrong they are."""

    def __init__(self, config: LossConfig) -> None:
        """Take loss weights, focal alpha and the wanted losses from config."""
        super().__init__()
        self.matcher = HungarianMatcher(config)
        self.focal_alpha = config.focal_alpha
        self.loss_types = config.loss_types
        self.weights = {
            "loss_ce": config.cls_loss_coef,
            "loss_bbox": config.bbox_loss_coef,
            "loss_giou": config.giou_loss_coef,
        }
        self.class_weights: Tensor | None  # (C,); no part of a checkpoint
        self.register_buffer("class_weights", None, persistent=False)

    def set_class_weights(self, weights: Sequence[float]) -> None:
        """Let the objects of class c count weights[c] times in the class loss.

        The focal loss of a query and class c is w_c alpha (1 - p)^2 (-log p) where the query is
        matched with an object of c, and (1 - alpha) p^2 (-log(1 - p)) elsewhere, unweighted. Sums
        are still divided by the number of objects. Matching and the proposals of two stages, which
        know no classes, are as without weights.

        Args:
            weights: one for each of C classes.
        """
        device = None if self.class_weights is None else self.class_weights.device
        self.class_weights = torch.tensor(list(weights), dtype=torch.float32, device=device)

    def forward(
        self,
        outputs: DetectorOutput,
        targets: Sequence[dict[str, Tensor]],
        num_boxes: Tensor | float | None = None,
    ) -> dict[str, Tensor]:
        """Compute all losses, unweighted.

        Args:
            outputs: of DeformableDETR.
            targets: an image's boxes (N, 4) cxcywh 0 to 1 and labels (N,); N may be 0. With
                regions (R, 4), boxes likewise, a query without an object adds nothing to loss_ce
                where more than half of its own area lies in one of them, in every decoder layer
                and among the proposals; denoising queries all have their object. The sums are
                divided by the number of objects all the same. It is a rule of this toolkit: the
                paper has no such regions.
            num_boxes: what sums are divided by; by default the mean number over the ranks.

        Returns:
            loss_ce, loss_bbox, loss_giou of the last layer; the same with _0, _1, ... for earlier
            layers, _enc for proposals, and _dn behind the layer for denoising queries;
            class_error in per cent and cardinality_error.
        """
        with torch.autocast(outputs.pred_logits.device.type, enabled=False):
            dtype = widen(outputs.pred_boxes).dtype
            padded, regions = pad_targets(targets, dtype), pad_regions(targets, dtype)
            if self.class_weights is not None:
                padded = padded._replace(weights=self.class_weights[padded.labels].to(dtype))
            return self._losses(outputs, padded, regions, num_boxes)

    def total_loss(self, losses: dict[str, Tensor]) -> Tensor:
        """Sum the losses by weight, a scalar; entries that are no losses are left out."""
        weighted = [
            self.weights["_".join(name.split("_")[:2])] * value
            for name, value in losses.items()
            if name.startswith("loss_")
        ]
        return torch.stack(weighted).sum()

    def _losses(
        self,
        outputs: DetectorOutput,
        targets: PaddedTargets,
        regions: Tensor | None,  # (B, R, 4) cxcywh
        num_boxes: Tensor | float | None,
    ) -> dict[str, Tensor]:
        layers = [*outputs.aux_outputs, LayerOutput(outputs.pred_logits, outputs.pred_boxes)]
        groups = [_stack(layers)]
        suffixes = [[f"_{index}" for index in range(len(layers) - 1)] + [""]]
        meant = [targets]
        if outputs.enc_outputs is not None:
            groups.append(_stack([outputs.enc_outputs]))
            suffixes.append(["_enc"])
            any_object = torch.zeros_like(targets.labels)
            meant.append(targets._replace(labels=any_object, weights=None))
        if num_boxes is None:
            num_boxes = _mean_num_boxes(sum(targets.counts), targets.boxes.device)
        matches = self.matcher.match(groups, meant)
        if regions is not None:
            pairs = zip(groups, matches, strict=True)
            groups = [_without(each, find_ignored(each, found, regions)) for each, found in pairs]
        losses: dict[str, Tensor] = {}
        for group, names, objects, matched in zip(groups, suffixes, meant, matches, strict=True):
            losses |= self._group_losses(group, names, objects, matched, num_boxes)
        if outputs.denoised is not None:
            losses |= self._denoising_losses(outputs.denoised, suffixes[0], targets, num_boxes)
        return losses | _errors(groups[0], targets, matches[0])

    def _denoising_losses(
        self,
        denoised: DenoisedOutput,
        suffixes: Sequence[str],
        targets: PaddedTargets,
        num_boxes: Tensor | float,
    ) -> dict[str, Tensor]:
        """Compare each noised object with itself: group g's slot t is target t."""
        logits, boxes = _stack(denoised.layers)
        padding = denoised.padding  # (B, D)
        per_group = max(1, targets.labels.shape[1])  # T; a batch without objects has one slot
        num_groups = padding.shape[1] // per_group
        filled = torch.arange(per_group) < torch.tensor(targets.counts)[:, None]  # (B, T)
        slots = filled.repeat(len(logits), num_groups).nonzero().to(padding.device)
        images, queries = slots[:, 0] % len(padding), slots[:, 1]
        layers = torch.div(slots[:, 0], len(padding), rounding_mode="floor")
        matches = Matches(layers, images, queries, queries % per_group)
        certain = _without(Predictions(logits, boxes), padding)
        names = [f"{suffix}_dn" for suffix in suffixes]
        weight = num_boxes * num_groups
        return self._group_losses(certain, names, targets, matches, weight)

    def _group_losses(
        self,
        predictions: Predictions,
        suffixes: Sequence[str],
        targets: PaddedTargets,
        matches: Matches,
        num_boxes: Tensor | float,
    ) -> dict[str, Tensor]:
        per_layer: dict[str, Tensor] = {}  # (N,) each
        if "labels" in self.loss_types:
            per_layer["loss_ce"] = self._label_loss(predictions, targets, matches)
        if "boxes" in self.loss_types:
            per_layer |= _box_losses(predictions, targets, matches)
        return {
            f"{name}{suffix}": value
            for name, values in per_layer.items()
            for suffix, value in zip(suffixes, (values / num_boxes).unbind(), strict=True)
        }

    def _label_loss(
        self, predictions: Predictions, targets: PaddedTargets, matches: Matches
    ) -> Tensor:  # (N,)
        # Nearly all is background: its loss is taken everywhere, then changed where objects are.
        background = focal_loss(predictions.logits, self.focal_alpha, is_object=False)
        labels = _matched(targets.labels, matches)
        chosen = predictions.logits[matches.layers, matches.images, matches.queries, labels]
        weights = 1.0 if targets.weights is None else _matched(targets.weights, matches)
        changes = focal_loss_difference(chosen, self.focal_alpha, weights)
        return background.sum((1, 2, 3)).index_add(0, matches.layers, changes)


def _box_losses(
    predictions: Predictions, targets: PaddedTargets, matches: Matches
) -> dict[str, Tensor]:  # (N,) each
    boxes = predictions.boxes[matches.layers, matches.images, matches.queries]  # (M, 4)
    wanted = _matched(targets.boxes, matches)
    giou = generalized_iou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(wanted))
    pair_losses = {"loss_bbox": (boxes - wanted).abs().sum(-1), "loss_giou": 1 - giou}
    zeros = boxes.new_zeros(len(predictions.boxes))
    return {
        name: zeros.index_add(0, matches.layers, values) for name, values in pair_losses.items()
    }


@torch.no_grad()
def _errors(
    predictions: Predictions, targets: PaddedTargets, matches: Matches
) -> dict[str, Tensor]:
    logits = predictions.logits[-1]  # (B, Q, C)
    last = matches.layers == len(predictions.logits) - 1
    chosen = logits[matches.images, matches.queries].argmax(-1)
    wrong = (chosen != _matched(targets.labels, matches)) & last
    found = (logits.amax(-1) > 0).sum(1)  # more likely than not to be an object
    counts = torch.tensor(targets.counts, device=found.device)
    return {
        "class_error": 100.0 * wrong.sum() / last.sum().clamp(min=1),
        "cardinality_error": (found - counts).abs().float().mean(),
    }


def _matched(
    values: Tensor,  # (B, T, ...), of padded targets
    matches: Matches,
) -> Tensor:  # (M, ...)
    return values[matches.images, matches.targets]


def _without(predictions: Predictions, chosen: Tensor) -> Predictions:
    """Take the class loss, and its gradient, from the chosen queries, (B, Q) or (N, B, Q)."""
    logits = predictions.logits.masked_fill(chosen[..., None], NO_OBJECT_LOGIT)
    return predictions._replace(logits=logits)


def _stack(layers: Sequence[LayerOutput]) -> Predictions:
    logits = torch.stack([layer.pred_logits for layer in layers])
    boxes = torch.stack([layer.pred_boxes for layer in layers])
    return Predictions(widen(logits), widen(boxes))


def _mean_num_boxes(count: int, device: torch.device) -> Tensor:
    total = torch.tensor(float(count), device=device)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
        total = total / torch.distributed.get_world_size()
    return total.clamp(min=1)
