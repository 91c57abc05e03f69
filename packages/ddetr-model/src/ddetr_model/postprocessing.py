"""From logits and relative boxes to detections in pixels.

B images, Q queries, C classes, K detections kept an image.
"""

from __future__ import annotations

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
) -> list[Detection]:
    """Keep each image's num_select best pairs of query and class, best first.

    Args:
        outputs: of DeformableDETR, or of one of its layers.
        original_sizes_hw: height and width of each image before any resizing.
        num_select: at most this many; fewer where Q * C is smaller.

    Returns:
        An image's boxes_xyxy (K, 4) in pixels, not clipped; scores (K,); labels (K,) int64.
    """
    probabilities = outputs.pred_logits.float().sigmoid()  # (B, Q, C)
    num_classes = probabilities.shape[-1]
    pairs = probabilities.flatten(1)
    scores, best = pairs.topk(min(num_select, pairs.shape[1]), dim=1)  # (B, K)
    queries = torch.div(best, num_classes, rounding_mode="floor")
    boxes = cxcywh_to_xyxy(outputs.pred_boxes.float())
    boxes = boxes.gather(1, queries[..., None].expand(-1, -1, 4))
    boxes = boxes * original_sizes_hw.to(boxes).flip(-1).repeat(1, 2)[:, None]  # times w h w h
    return [
        {"boxes_xyxy": boxes[image], "scores": scores[image], "labels": best[image] % num_classes}
        for image in range(len(boxes))
    ]
