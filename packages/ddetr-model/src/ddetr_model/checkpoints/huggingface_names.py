"""Tensor names: those of Hugging Face transformers, any version, and the published ones."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["to_huggingface_names", "to_published_names"]

# Published name -> name in transformers, applied in this order to what follows "transformer.".
RENAMES = (
    (r"^(encoder\..*)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"^(encoder\..*)\.norm2\.", r"\1.final_layer_norm."),
    (r"^(decoder\..*)\.norm1\.", r"\1.encoder_attn_layer_norm."),
    (r"^(decoder\..*)\.norm2\.", r"\1.self_attn_layer_norm."),
    (r"^(decoder\..*)\.norm3\.", r"\1.final_layer_norm."),
    (r"\.linear([12])\.", r".fc\1."),
    (r"\.cross_attn\.", r".encoder_attn."),
)
IMPORT_RENAMES = (
    (r"^(encoder\..*)\.self_attn_layer_norm\.", r"\1.norm1."),
    (r"^(encoder\..*)\.final_layer_norm\.", r"\1.norm2."),
    (r"^(decoder\..*)\.encoder_attn_layer_norm\.", r"\1.norm1."),
    (r"^(decoder\..*)\.self_attn_layer_norm\.", r"\1.norm2."),
    (r"^(decoder\..*)\.final_layer_norm\.", r"\1.norm3."),
    (r"\.(?:mlp\.)?fc([12])\.", r".linear\1."),
    (r"\.encoder_attn\.", r".cross_attn."),
    (r"\.self_attn\.o_proj\.", r".self_attn.out_proj."),
)
# transformers' own ResNet -> torchvision's, after the prefix of the backbone.
RESNET_RENAMES = (
    (r"^embedder\.embedder\.convolution\.", "conv1."),
    (r"^embedder\.embedder\.normalization\.", "bn1."),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
)
BACKBONE_PREFIX = re.compile(r"^model\.backbone\.(?:conv_encoder\.)?model\.(?:_backbone\.)?")
EXPORTED_BACKBONE_PREFIX = "model.backbone.conv_encoder.model."
IN_TRANSFORMER = re.compile(
    r"^(encoder|decoder|level_embed|reference_points|enc_output|enc_output_norm|pos_trans"
    r"|pos_trans_norm)(\.|$)"
)
PROJECTIONS = ("q_proj", "k_proj", "v_proj")  # rows of in_proj in this order


def to_published_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors of transformers, of any of its versions, and join query, key and value."""
    renamed = {_published_name(name): value for name, value in tensors.items()}
    for name in [name for name in renamed if ".self_attn.q_proj." in name]:
        parts = [renamed.pop(name.replace("q_proj", projection)) for projection in PROJECTIONS]
        renamed[name.replace("q_proj.", "in_proj_")] = torch.cat(parts)
    return renamed


def to_huggingface_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename published tensors, split query, key and value, and drop counters and aliases."""
    renamed: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.endswith("num_batches_tracked") or name.startswith("denoising."):
            continue
        new = _huggingface_name(name)
        if ".in_proj_" not in new:
            renamed[new] = value.detach().clone()
            continue
        for projection, part in zip(PROJECTIONS, value.chunk(3), strict=True):
            renamed[new.replace("in_proj_", f"{projection}.")] = part.detach().clone()
    return renamed


def _published_name(name: str) -> str:
    if BACKBONE_PREFIX.match(name):
        return "backbone.0.body." + _torchvision_name(BACKBONE_PREFIX.sub("", name))
    name = name.removeprefix("model.").replace("query_position_embeddings.", "query_embed.")
    if not IN_TRANSFORMER.match(name):
        return name
    for pattern, replacement in IMPORT_RENAMES:
        name = re.sub(pattern, replacement, name)
    return "transformer." + name


def _torchvision_name(name: str) -> str:
    for index in range(4):
        name = name.replace(f"encoder.stages.{index}.layers.", f"layer{index + 1}.")
        name = name.replace(f".layer.{index}.convolution.", f".conv{index + 1}.")
        name = name.replace(f".layer.{index}.normalization.", f".bn{index + 1}.")
    for pattern, replacement in RESNET_RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _huggingface_name(name: str) -> str:
    if name.startswith("backbone.0.body."):
        return EXPORTED_BACKBONE_PREFIX + name.removeprefix("backbone.0.body.")
    if name.startswith(("class_embed.", "bbox_embed.")):
        return name
    if not name.startswith("transformer."):
        return "model." + name.replace("query_embed.", "query_position_embeddings.")
    name = name.removeprefix("transformer.")
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return "model." + name
