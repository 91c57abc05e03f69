"""How a spec of `ddetr init` trains: a small network from nothing, or a detector further."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

BATCH_SIZE = 4
_UPDATES = 5000  # after which a small network from nothing knows the shapes of a small set
_EPOCHS = (12, 300)  # fewest and most
_QUERIES = 100  # fewest, and what more of them are a multiple of half of

_FROM_NOTHING = """model: # small, so that it learns from random weights, on a processor too
  # With weights of a backbone: pretrained_backbone_path. With those of a detector: --weights FILE
  backbone: timm:resnet10t
  num_feature_levels: 3
  return_interm_indices: [1, 2, 3]
  hidden_dim: 128
  enc_layers: 1
  dec_layers: 2
  dim_feedforward: 256
  two_stage: true
  num_queries: {queries} # no fewer than the fullest image has objects
  denoising_groups: 5
  dropout_ratio: 0.0
  cls_loss_coef: 4.0

train:
  num_epochs: {epochs} # of {images} images: about {updates:,} updates
  validation_interval: {interval}
  checkpoint_interval: {epochs} # the best, the latest and the last are kept anyway
  activation_checkpoint: false # a small network has the memory
  clip_grad_norm: 1.0
  warmup_steps: 100
  ema_decay: 0.99
  optim:
    lr: 0.0005
    lr_backbone: 0.0005 # it knows as little as the rest
    lr_linear_proj_mult: 1.0
    lr_scheduler: Cosine
"""
_FROM_WEIGHTS = """
train:
  pretrained_model_path: {weights}
  num_epochs: 30
  early_stopping_patience: 8 # validations without a better one
  clip_grad_norm: 0.1
  warmup_steps: 200 # new class heads would otherwise spoil what was learnt
  ema_decay: 0.998
  optim: # a tenth to a half of the rates that the weights were trained with
    lr: 0.0001
    lr_backbone: 0.00001
    lr_scheduler: Cosine
"""


def from_nothing(num_images: int, most_objects: int) -> Iterator[str]:
    """Write the blocks `model` and `train` for random weights.

    Args:
        num_images: to train on.
        most_objects: in one of them.
    """
    updates_an_epoch = max(1, num_images // BATCH_SIZE)
    fewest, most = _EPOCHS
    epochs = min(max(round(_UPDATES / updates_an_epoch), fewest), most)
    yield from _FROM_NOTHING.format(
        queries=max(_QUERIES, -(-3 * most_objects // _QUERIES) * _QUERIES // 2),
        epochs=epochs,
        images=num_images,
        updates=epochs * updates_an_epoch,
        interval=max(1, epochs // 20),
    ).splitlines()


def from_weights(weights: Path, architecture: Mapping[str, Any]) -> Iterator[str]:
    """Write them for the weights of a whole detector, whose fields differ so from the defaults."""
    if architecture:
        yield "model: # that of the weights"
    for name, value in architecture.items():
        yield f"  {name}: {json.dumps(value)}"
    yield from _FROM_WEIGHTS.format(weights=json.dumps(str(weights.absolute()))).splitlines()
