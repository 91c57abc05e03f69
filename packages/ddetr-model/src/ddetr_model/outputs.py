"""What the detector predicts, as the losses and the post-processing read it.

B images, Q queries, K classes, S pixels of all levels together, D denoising queries.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["DenoisedOutput", "DetectorOutput", "LayerOutput"]


class LayerOutput(NamedTuple):
    """The predictions of one decoder layer, or of the first of two stages (S instead of Q)."""

    pred_logits: Tensor  # (B, Q, K), before the sigmoid
    pred_boxes: Tensor  # (B, Q, 4) cxcywh, 0 to 1 of the image without its padding


class DenoisedOutput(NamedTuple):
    """The predictions for denoising queries, which training alone has."""

    layers: tuple[LayerOutput, ...]  # D queries instead of Q; the last decoder layer is the last
    padding: Tensor  # (B, D) bool, True where a query stands for no object


class DetectorOutput(NamedTuple):
    """The predictions of the last decoder layer, and those that only the losses look at."""

    pred_logits: Tensor  # (B, Q, K), before the sigmoid
    pred_boxes: Tensor  # (B, Q, 4) cxcywh, 0 to 1 of the image without its padding
    aux_outputs: tuple[LayerOutput, ...] = ()  # of the earlier layers; empty without aux_loss
    enc_outputs: LayerOutput | None = None  # of the first stage, where there are two
    denoised: DenoisedOutput | None = None  # in training with denoising_groups
