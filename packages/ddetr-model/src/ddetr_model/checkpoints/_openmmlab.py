"""Checkpoints of mmdetection 2 and 3 and of detrex: names, settings, and what cannot be equal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ddetr_model.checkpoints._foreign import ForeignCheckpoint
from ddetr_model.checkpoints._openmmlab_names import to_published_names
from ddetr_model.weights import CheckpointError

__all__ = ["read_openmmlab"]

DETREX_REFERENCE_EPS = 1e-3  # of its inverse sigmoid; mmdetection's is the published 1e-5
# What mmdetection's text of settings must say, where it says it at all: what is computed otherwise
# cannot be told from the tensors.
REQUIRED = (
    (r"positional_encoding\w*\s*=\s*dict\([^()]*\boffset=([-\d.]+)", "-0.5", "encodes positions"),
    (r"positional_encoding\w*\s*=\s*dict\([^()]*\bnormalize=(\w+)", "True", "encodes positions"),
    (r"\bbackbone\s*=\s*dict\([^()]*\bstyle='(\w+)'", "pytorch", "strides its ResNet"),
)
SIZES = {"nheads": r"\bnum_heads=(\d+)", "num_queries": r"\bnum_quer(?:ies|y)=(\d+)"}


def read_openmmlab(
    contents: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str
) -> ForeignCheckpoint:
    """Give tensors under the published names, and what the file tells beside them.

    Raises:
        CheckpointError: the settings say that the model computes something else.
    """
    weights = to_published_names(tensors)
    meta = contents.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    settings = str(meta.get("cfg") or meta.get("config") or "")
    _check_settings(settings, source)
    hints: dict[str, Any] = {
        field: int(match[1])
        for field, pattern in SIZES.items()
        if (match := re.search(pattern, settings))
    }
    if any(name.startswith("bbox_head.") for name in tensors):  # mmdetection
        written = re.search(r"\bwith_box_refine=(True|False)", settings)
        if written:
            hints["with_box_refine"] = written[1] == "True"
    else:
        hints["reference_eps"] = DETREX_REFERENCE_EPS
    return ForeignCheckpoint(weights, hints, _categories(meta))


def _check_settings(settings: str, source: str) -> None:
    for pattern, wanted, what in REQUIRED:
        found = re.search(pattern, settings)
        if found and found[1] != wanted:
            raise CheckpointError(
                f"{source} {what} by {found[1]}, where the published model has {wanted}: "
                "its answers cannot be had here"
            )


def _categories(meta: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    dataset = meta.get("dataset_meta")
    dataset = dataset if isinstance(dataset, Mapping) else {}
    names = dataset.get("classes") or dataset.get("CLASSES") or meta.get("CLASSES") or ()
    return tuple({"id": index, "name": str(name)} for index, name in enumerate(names))
