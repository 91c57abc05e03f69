"""The architecture that a set of tensors under the published names was made for."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from torch import Tensor

from ddetr_model.backbones import VARIANTS
from ddetr_model.checkpoints.filling import has_own_heads
from ddetr_model.config import EXTRA_LEVEL
from ddetr_model.weights import CheckpointError

__all__ = ["backbone_hint", "build_config", "infer_fields"]

Config = TypeVar("Config", bound=BaseModel)

logger = logging.getLogger(__name__)

BODY = "backbone.0.body."
# ResNets by their common name, and by the blocks of the third stage, which tell them apart.
RESNETS = {"resnet50": "resnet_50", "resnet101": "timm:resnet101", "resnet152": "timm:resnet152"}
RESNET_BLOCKS = {6: "resnet50", 23: "resnet101", 36: "resnet152"}
RESNET_WIDTH = 256  # channels of the first stage; they double a stage
# What no tensor's shape tells, as in the published models.
UNTOLD: dict[str, Any] = {"nheads": 8, "dilation": False}
GC_VIT_WIDTHS = {name: variant.width for name, variant in VARIANTS.items()}


def infer_fields(
    weights: Mapping[str, Tensor], hints: Mapping[str, Any], source: str
) -> dict[str, Any]:
    """Read ModelConfig's sizes from shapes; hints give what they do not tell, such as heads.

    Heads and dilation that nothing tells are taken as published and logged, since they change what
    the model computes.

    Raises:
        CheckpointError: the tensors are not of a Deformable DETR, or of one this cannot build.
    """
    if "transformer.level_embed" not in weights:
        raise CheckpointError(
            f"{source} is no Deformable DETR in a known layout (original, Hugging Face, "
            "TAO, detrex, mmdetection, ours)"
        )
    fields = {**UNTOLD, **_shapes(weights, hints, source), **hints}
    if assumed := ", ".join(f"{key} {UNTOLD[key]}" for key in UNTOLD if key not in hints):
        logger.warning("%s does not tell all of its architecture: %s assumed", source, assumed)
    return fields


def backbone_hint(name: object) -> dict[str, Any]:
    """Give the ModelConfig field for a backbone that another project's settings name."""
    return {"backbone": RESNETS[name]} if isinstance(name, str) and name in RESNETS else {}


def build_config(kind: type[Config], fields: Mapping[str, Any], source: str) -> Config:
    """Check the fields of a config that a file gives; source is what errors call it.

    Raises:
        CheckpointError: a field is unknown, or its value is none that can be built.
    """
    try:
        return kind(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        where = f"{key}: " if key else ""
        raise CheckpointError(f"{source} cannot be built here: {where}{first['msg']}") from error


def _shapes(weights: Mapping[str, Tensor], hints: Mapping[str, Any], source: str) -> dict[str, Any]:
    levels, width = _need(weights, "transformer.level_embed", source, dims=2).shape
    two_stage = "transformer.enc_output.weight" in weights
    fields: dict[str, Any] = {
        "num_classes": _class_head(weights, source).shape[0],
        "hidden_dim": width,
        "num_feature_levels": levels,
        "enc_layers": _count(weights, r"transformer\.encoder\.layers\.(\d+)\."),
        "dec_layers": _count(weights, r"transformer\.decoder\.layers\.(\d+)\."),
        "two_stage": two_stage,
        "with_box_refine": two_stage or has_own_heads(weights),
        "backbone": hints.get("backbone") or _backbone(weights, source),
        "backbone_output_norms": any(name.startswith(f"{BODY}norm") for name in weights),
    }
    heads = hints.get("nheads", UNTOLD["nheads"])
    samples_per_point = levels * (heads if isinstance(heads, int) and heads > 0 else 1)
    for field, attention in (
        ("enc_n_points", "encoder.layers.0.self_attn"),
        ("dec_n_points", "decoder.layers.0.cross_attn"),
    ):
        rows = _need(weights, f"transformer.{attention}.attention_weights.bias", source).shape[0]
        fields[field] = rows // samples_per_point
    first = "transformer.encoder.layers.0.linear1.weight"
    fields["dim_feedforward"] = _need(weights, first, source).shape[0]
    if "query_embed.weight" in weights:
        fields["num_queries"] = weights["query_embed.weight"].shape[0]
    if "return_interm_indices" not in hints:
        first_width = GC_VIT_WIDTHS.get(fields["backbone"], RESNET_WIDTH)
        fields["return_interm_indices"] = tuple(
            _level_sources(weights, levels, first_width, source)
        )
    return fields


def _level_sources(
    weights: Mapping[str, Tensor], levels: int, first_width: int, source: str
) -> list[int]:
    stages = {first_width * 2**stage: stage for stage in range(4)}  # by channels
    sources = []
    for level in range(levels):
        projection = _need(weights, f"input_proj.{level}.0.weight", source, dims=4)
        _, channels, kernel, _ = projection.shape
        if kernel == 3:
            sources.append(EXTRA_LEVEL)
        elif channels in stages:
            sources.append(stages[channels])
        else:
            raise CheckpointError(
                f"{source}: feature level {level} comes from a stage of {channels} channels, which "
                "the backbone does not have: pass return_interm_indices"
            )
    return sources


def _backbone(weights: Mapping[str, Tensor], source: str) -> str:
    if f"{BODY}stem.conv1.weight" in weights and f"{BODY}stem.down.norm1.weight" in weights:
        return _gc_vit(weights, source)
    blocks = _count(weights, re.escape(BODY) + r"layer3\.(\d+)\.") or 6
    if f"{BODY}layer1.0.conv3.weight" in weights and blocks in RESNET_BLOCKS:
        return RESNETS[RESNET_BLOCKS[blocks]]
    raise CheckpointError(
        f"{source}: the backbone is neither a GCViT nor a ResNet of a known depth: pass backbone"
    )


def _gc_vit(weights: Mapping[str, Tensor], source: str) -> str:
    width = _need(weights, f"{BODY}stem.conv1.weight", source).shape[0]
    depths = [
        depth
        for stage in range(4)
        if (depth := _count(weights, re.escape(BODY) + rf"stages\.{stage}\.blocks\.(\d+)\."))
    ]
    table = f"{BODY}stages.0.blocks.0.attn.rel_pos.relative_position_bias_table"
    offsets = _need(weights, table, source).shape[0]
    for name, variant in VARIANTS.items():
        fits = variant.width == width and list(variant.depths[: len(depths)]) == depths
        if fits and (2 * variant.windows[0] - 1) ** 2 == offsets:
            return name
    raise CheckpointError(f"{source}: no GCViT has width {width} and depths {depths}")


def _class_head(weights: Mapping[str, Tensor], source: str) -> Tensor:
    for name in ("class_embed.0.weight", "transformer.decoder.class_embed.0.weight"):
        if name in weights:
            return _need(weights, name, source, dims=2)
    return _need(weights, "class_embed.0.weight", source)


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    found = (re.match(pattern, name) for name in weights)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _need(weights: Mapping[str, Tensor], name: str, source: str, dims: int | None = None) -> Tensor:
    if name not in weights:
        raise CheckpointError(f"{source} lacks the tensor {name}")
    tensor = weights[name]
    if tensor.dim() != (dims or max(1, tensor.dim())):
        raise CheckpointError(
            f"{source}: {name} has shape {tuple(tensor.shape)}, which no Deformable DETR has"
        )
    return tensor
