"""Parameter names of NVlabs' GCViT, as its authors and TAO publish it, turned into ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

__all__ = ["from_nvlabs", "is_nvlabs"]

RENAMES = (
    (r"^patch_embed\.proj\.", "stem.conv1."),
    (r"^patch_embed\.conv_down\.", "stem.down."),
    (r"^levels\.(\d+)\.blocks\.", r"stages.\1.blocks."),
    (r"^levels\.(\d+)\.q_global_gen\.to_q_global\.(\d+)\.", r"stages.\1.global_block.\2."),
    (r"\.conv\.0\.", ".conv_block.conv_dw."),
    (r"\.conv\.2\.fc\.0\.", ".conv_block.se.fc1."),
    (r"\.conv\.2\.fc\.2\.", ".conv_block.se.fc2."),
    (r"\.conv\.3\.", ".conv_block.conv_pw."),
    (r"\.attn\.relative_position_bias_table$", ".attn.rel_pos.relative_position_bias_table"),
    (r"\.gamma([12])$", r".ls\1.gamma"),
    (r"^norm\.", "stages.3.norm."),
)
INDEX = ".relative_position_index"  # the same in every file, and made here when it is built


def is_nvlabs(tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether tensors carry NVlabs' names."""
    return any(".q_global_gen." in name for name in tensors)


def from_nvlabs(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors; squeeze and excitation turn from linear layers into 1 x 1 convolutions.

    NVlabs halves at the end of a level, we at the start of the next, hence the shifted index.
    """
    renamed = {}
    for name, value in tensors.items():
        if name.endswith(INDEX):
            continue
        new = _rename(name)
        is_excitation = new.endswith(("se.fc1.weight", "se.fc2.weight")) and value.dim() == 2
        renamed[new] = value[:, :, None, None] if is_excitation else value
    return renamed


def _rename(name: str) -> str:
    downsample = re.match(r"^levels\.(\d+)\.downsample\.(.*)$", name)
    if downsample:
        name = f"stages.{int(downsample[1]) + 1}.downsample.{downsample[2]}"
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    query = re.match(r"^(stages\.\d+\.global_block)\.(\d+)\.conv_block\.(.*)$", name)
    if query:
        name = f"{query[1]}.blocks.conv{int(query[2]) + 1}.{query[3]}"
    return name
