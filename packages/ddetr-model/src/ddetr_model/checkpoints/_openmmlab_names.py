"""Tensor names of mmdetection 2 and 3 and of detrex, which share mmcv's way of naming layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["is_openmmlab", "to_published_names"]

Replacement: TypeAlias = str | Callable[[re.Match[str]], str]

# Theirs -> published, for what stands in the transformer; applied in this order.
# A layer numbers its parts in the order of use: in the decoder self-attention, norm,
# cross-attention, norm, perceptron, norm. The published names count otherwise.
TRANSFORMER_RENAMES: tuple[tuple[str, Replacement], ...] = (
    (r"\.attentions\.0\.(?:attn\.)?", ".self_attn."),
    (r"\.attentions\.1\.", ".cross_attn."),
    (r"\.self_attn\.attn\.", ".self_attn."),
    (r"\.ffns?\.(?:0\.)?layers\.0\.0\.", ".linear1."),
    (r"\.ffns?\.(?:0\.)?layers\.1\.", ".linear2."),
    (r"^(encoder\..*)\.norms\.0\.", r"\1.norm1."),
    (r"^(encoder\..*)\.norms\.1\.", r"\1.norm2."),
    (r"^(decoder\..*)\.norms\.0\.", r"\1.norm2."),
    (r"^(decoder\..*)\.norms\.1\.", r"\1.norm1."),
    (r"^(decoder\..*)\.norms\.2\.", r"\1.norm3."),
    (r"^level_embeds$", "level_embed"),
    (r"^reference_points_fc\.", "reference_points."),
    (r"^memory_trans_fc\.", "enc_output."),
    (r"^memory_trans_norm\.", "enc_output_norm."),
    (r"^pos_trans_fc\.", "pos_trans."),
)
IN_TRANSFORMER = re.compile(
    r"^(?:bbox_head\.)?(?:transformer\.)?"
    r"((?:encoder|decoder)\.layers\..*|level_embeds?|(?:reference_points|enc_output|memory_trans"
    r"|pos_trans)(?:_fc|_norm)?\..*)$"
)
# Theirs -> published, for the rest.
OTHER_RENAMES: tuple[tuple[str, Replacement], ...] = (
    (r"^(?:bbox_head\.)?query_embedding\.", "query_embed."),
    (r"^bbox_head\.cls_branches\.", "class_embed."),
    (r"^neck\.convs\.(\d+)\.conv\.", r"input_proj.\1.0."),
    (r"^neck\.convs\.(\d+)\.(?:gn|norm)\.", r"input_proj.\1.1."),
    (r"^backbone\.stem\.", "backbone."),
    (r"^backbone\.res([2-5])\.", lambda match: f"backbone.layer{int(match[1]) - 1}."),
    (r"^(backbone\..*)conv(\d)\.norm\.", r"\1bn\2."),
    (r"^(backbone\..*)\.shortcut\.norm\.", r"\1.downsample.1."),
    (r"^(backbone\..*)\.shortcut\.", r"\1.downsample.0."),
    (r"^backbone\.", "backbone.0.body."),
)
BOX_BRANCH = re.compile(r"^bbox_head\.reg_branches\.(\d+)\.(\d+)\.(.*)$")
EXTRA_LEVEL = re.compile(r"^neck\.extra_convs\.(\d+)\.(conv|gn|norm)\.(.*)$")


def is_openmmlab(tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether tensors carry the names of mmdetection's or detrex's Deformable DETR."""
    return any(name.startswith("neck.convs.") for name in tensors)


def to_published_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors; projections that have no bias before their norm get one of zeros."""
    levels = {match[1] for name in tensors if (match := re.match(r"neck\.convs\.(\d+)\.", name))}
    renamed = {_published_name(name, len(levels)): value for name, value in tensors.items()}
    for name in [name for name in renamed if re.match(r"input_proj\.\d+\.0\.weight$", name)]:
        bias = f"{name.removesuffix('weight')}bias"
        renamed.setdefault(bias, torch.zeros(len(renamed[name])))
    return renamed


def _published_name(name: str, num_levels: int) -> str:
    if match := IN_TRANSFORMER.match(name):
        return "transformer." + _renamed(match[1], TRANSFORMER_RENAMES)
    if match := BOX_BRANCH.match(name):  # layers 0, 2, 4 with ReLU between them
        return f"bbox_embed.{match[1]}.layers.{int(match[2]) // 2}.{match[3]}"
    if match := EXTRA_LEVEL.match(name):
        layer = 0 if match[2] == "conv" else 1
        return f"input_proj.{num_levels + int(match[1])}.{layer}.{match[3]}"
    return _renamed(name, OTHER_RENAMES)


def _renamed(name: str, renames: Sequence[tuple[str, Replacement]]) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name
