"""The published layout, {"model": tensors, "args": settings}, which TAO wraps in Lightning's.

TAO's GCViT detectors name their backbone's tensors as NVlabs does.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddetr_model.checkpoints._architecture import backbone_hint
from ddetr_model.checkpoints._foreign import ForeignCheckpoint
from ddetr_model.checkpoints._whole_file import writing_whole
from ddetr_model.config import EXTRA_LEVEL
from ddetr_model.deformable_detr import DeformableDETR
from ddetr_model.parts import refuse_parts_from_outside
from ddetr_model.weights import CheckpointError, from_nvlabs, is_nvlabs

__all__ = ["export_original", "read_original"]

# Settings of the published command line that no tensor tells, by the same name in our configs.
_SAME = (
    *("nheads", "dilation", "aux_loss"),
    *("cls_loss_coef", "bbox_loss_coef", "giou_loss_coef", "focal_alpha"),
    # Ours alone; the published code reads over them.
    *("num_select", "padding_invariant", "reference_eps"),
)
FIELDS = {"dropout": "dropout_ratio"} | dict(zip(_SAME, _SAME, strict=True))
# What tensors tell too, likewise.
SIZES = (
    *("hidden_dim", "enc_layers", "dec_layers", "dim_feedforward", "num_queries"),
    *("num_feature_levels", "enc_n_points", "dec_n_points", "with_box_refine", "two_stage"),
)
BODY = "backbone.0.body."
LARGEST_WINDOWS = f"{BODY}stages.2.blocks.0.attn.rel_pos.relative_position_bias_table"
LARGE_384_OFFSETS = (2 * 24 - 1) ** 2  # between the pixels of a window


def read_original(
    contents: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str
) -> ForeignCheckpoint:
    """Give a file's tensors, and the settings among its contents as hints.

    Raises:
        CheckpointError: the backbone is TAO's gc_vit_large_384, which computes something else.
    """
    args = contents.get("args")
    settings = vars(args) if isinstance(args, argparse.Namespace) else {}
    hints = {field: settings[name] for name, field in FIELDS.items() if name in settings}
    hints |= backbone_hint(settings.get("backbone"))
    weights = _with_backbone_names(tensors)
    if weights.get(LARGEST_WINDOWS, torch.empty(0)).shape[0] == LARGE_384_OFFSETS:
        raise CheckpointError(
            f"{source} has TAO's gc_vit_large_384, which pools its global query once more than the "
            "published network: its answers cannot be had here"
        )
    if "num_queries" in settings and "query_embed.weight" not in weights:
        hints["num_queries"] = settings["num_queries"]
    return ForeignCheckpoint(weights, hints)


def export_original(model: DeformableDETR, path: str | os.PathLike[str]) -> None:
    """Write a file that the published code resumes from: {"model": tensors, "args": Namespace}.

    Raises:
        ValueError: the model has parts from outside, or a choice that the published code lacks.
    """
    refuse_parts_from_outside(model, "the published layout")
    fields = dict(model.config) | dict(model.losses)
    args = argparse.Namespace(
        **{name: fields[field] for name, field in FIELDS.items()},
        **{name: fields[name] for name in SIZES},
        backbone="resnet50",
        position_embedding="sine",
        masks=False,
    )
    _check_exportable(model)
    tensors = {
        name: value
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked") and not name.startswith("denoising.")
    }
    with writing_whole(Path(path)) as file:
        torch.save({"model": tensors, "args": args}, file)


def _with_backbone_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    body = {n.removeprefix(BODY): value for n, value in tensors.items() if n.startswith(BODY)}
    if not is_nvlabs(body):
        return dict(tensors)
    others = {name: value for name, value in tensors.items() if not name.startswith(BODY)}
    return others | {f"{BODY}{name}": value for name, value in from_nvlabs(body).items()}


def _check_exportable(model: DeformableDETR) -> None:
    stages = tuple(i for i in model.config.return_interm_indices if i != EXTRA_LEVEL)
    if model.config.backbone != "resnet_50" or stages not in ((1, 2, 3), (3,)):
        raise ValueError(
            "the published layout knows resnet_50 with return_interm_indices [1, 2, 3, 4], "
            f"[1, 2, 3] or [3], got {model.config.backbone} with {list(stages)}"
        )
