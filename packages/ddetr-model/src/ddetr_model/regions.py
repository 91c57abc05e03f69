"""Regions to ignore: parts of an image in which nobody said what is there.

N decoder layers, B images, Q queries, R the most regions of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ddetr_model.boxes import cxcywh_to_xyxy, intersection_over_first
from ddetr_model.matcher import Matches, Predictions

__all__ = ["find_ignored", "pad_regions"]

LEAST_OVERLAP = 0.5  # of a query's box with a region, in parts of the query's own area


def pad_regions(targets: Sequence[dict[str, Tensor]], dtype: torch.dtype) -> Tensor | None:
    """Put images' regions (R, 4) side by side, (B, R, 4), padded by boxes without area.

    None where no image has any, so that nothing more is computed.
    """
    found = [target.get("regions") for target in targets]
    if all(regions is None or not len(regions) for regions in found):
        return None
    given = next(regions for regions in found if regions is not None)
    return torch.nn.utils.rnn.pad_sequence(
        [(given[:0] if each is None else each).to(dtype).reshape(-1, 4) for each in found],
        batch_first=True,
    )


@torch.no_grad()
def find_ignored(predictions: Predictions, matches: Matches, regions: Tensor) -> Tensor:
    """Which queries (N, B, Q) answer for no object, and lie in a region by more than half."""
    queries = cxcywh_to_xyxy(predictions.boxes)[..., None, :]  # (N, B, Q, 1, 4)
    overlap = intersection_over_first(queries, cxcywh_to_xyxy(regions)[None, :, None])
    ignored = (overlap > LEAST_OVERLAP).any(-1)
    ignored[matches.layers, matches.images, matches.queries] = False
    return ignored
