"""From logits and relative boxes to detections in pixels.

B images, Q queries, C classes, K detections kept an image.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from ddetr_model.boxes import cxcywh_to_xyxy
from ddetr_model.outputs import DetectorOutput, LayerOutput

__all__ = ["Detection", "postprocess"]

Detection = dict[str, Tensor]  # boxes_xyxy (K, 4), scores (K,), labels (K,)


@torch.no_grad()
def postprocess(
    outputs: DetectorOutput | LayerOutput,
    original_sizes_hw: Tensor,  # (B, 2), pixels
    num_select: int,
    class_ids: Collection[int] = (),
) -> list[Detection]:
    """Keep each image's num_select best pairs of query and class, best first.

    Args:
        outputs: of DeformableDETR, or of one of its layers.
        original_sizes_hw: height and width of each image before any resizing.
        num_select: at most this many; fewer where there are fewer pairs.
        class_ids: the classes that there are, of 0 to C - 1; the others are never detected and take
            no place of the best. Empty where nobody knows: then all C.

    Returns:
        An image's boxes_xyxy (K, 4) in pixels, not clipped; scores (K,); labels (K,) int64.
    """
    logits = outputs.pred_logits.float()  # (B, Q, C)
    ids = torch.tensor(sorted(class_ids) or range(logits.shape[-1]), device=logits.device)
    pairs = logits[..., ids].sigmoid().flatten(1)
    scores, best = pairs.topk(min(num_select, pairs.shape[1]), dim=1)  # (B, K)
    queries = torch.div(best, len(ids), rounding_mode="floor")
    labels = ids[best % len(ids)]
    boxes = cxcywh_to_xyxy(outputs.pred_boxes.float())
    boxes = boxes.gather(1, queries[..., None].expand(-1, -1, 4))
    boxes = boxes * original_sizes_hw.to(boxes).flip(-1).repeat(1, 2)[:, None]  # times w h w h
    return [
        {"boxes_xyxy": boxes[image], "scores": scores[image], "labels": labels[image]}
        for image in range(len(boxes))
    ]
