"""Activation checkpointing: forget a layer's inner activations, compute them again when needed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ["run_layer"]


def run_layer(layer: nn.Module, recompute: bool, *inputs: Any) -> Tensor:
    """Run a layer, with recompute=True keeping only its inputs for the backward pass.

    Gradients are the same to the bit, dropout included: the random state is restored.
    """
    if recompute and torch.is_grad_enabled():
        return checkpoint(layer, *inputs, use_reentrant=False)  # type: ignore[no-any-return]
    return layer(*inputs)  # type: ignore[no-any-return]
