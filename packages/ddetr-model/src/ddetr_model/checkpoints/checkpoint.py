"""Checkpoints that carry all that is needed to use them: weights, architecture, classes, scores."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddetr_model.checkpoints._whole_file import writing_whole
from ddetr_model.checkpoints.source import complete_heads, import_checkpoint, read_checkpoint
from ddetr_model.deformable_detr import DeformableDETR
from ddetr_model.weights import (
    LEAST_COVERAGE,
    METADATA_KEY,
    CheckpointError,
    CheckpointMetadata,
    LoadReport,
    compare,
    metadata_dict,
    metadata_of,
    read_file,
    tensors_of,
)

__all__ = [
    "CheckpointError",
    "CheckpointMetadata",
    "LoadReport",
    "load_checkpoint",
    "load_pretrained",
    "metadata_dict",
    "read_metadata",
    "save_checkpoint",
]


def save_checkpoint(
    model: DeformableDETR,
    path: str | os.PathLike[str],
    *,
    categories: Sequence[Mapping[str, Any]] = (),
    preprocess: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Write weights and metadata; path holds the old file or the whole new one at any moment.

    Raises:
        OSError: the file cannot be written; the error names it.
    """
    metadata = metadata_dict(
        model.config, categories=categories, preprocess=preprocess, metrics=metrics
    )
    with writing_whole(Path(path)) as file:
        torch.save({"state_dict": model.state_dict(), METADATA_KEY: metadata}, file)


def load_checkpoint(path: str | os.PathLike[str]) -> DeformableDETR:
    """Read a detector, in eval mode on the CPU, with .config and .metadata.

    Takes files of save_checkpoint, Lightning checkpoints with our metadata, and all that
    ddetr_model.importers reads: the original authors', TAO's, a Hugging Face folder.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is something else, or tensors are missing or misshapen.
    """
    path = Path(path)
    contents = {} if path.is_dir() else read_file(path)
    if METADATA_KEY not in contents:
        return import_checkpoint(path)[0]
    metadata = metadata_of(contents, path)
    model = DeformableDETR(metadata.model_config_, load_backbone_file=False)
    weights = tensors_of(contents)
    report = compare(model.state_dict(), weights)
    if report.missing or report.mismatched:
        raise CheckpointError(
            f"{path} does not fit its own architecture: {len(report.missing)} tensors are missing "
            f"and {len(report.mismatched)} have another shape, such as "
            f"{(report.missing + report.mismatched)[0]}"
        )
    _fill(model, weights, report)
    model.metadata = metadata
    return model.eval()


def read_metadata(path: str | os.PathLike[str]) -> CheckpointMetadata:
    """Read what a checkpoint says about itself.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file has no metadata of ours.
    """
    return metadata_of(read_file(Path(path)), path)


def load_pretrained(model: DeformableDETR, path: str | os.PathLike[str]) -> LoadReport:
    """Take over every tensor of the same name and shape; class heads of another size stay random.

    Reads the same files as load_checkpoint. A backbone that comes along counts as pretrained:
    its batch norms, and a ResNet's stem and first stage, are frozen as SPEC.md says.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: no tensor fits, or one beside the class heads has another shape.
    """
    source = read_checkpoint(Path(path))
    heads = source.config.nheads if source.config else source.hints.get("nheads")
    if heads not in (None, model.config.nheads):
        raise CheckpointError(
            f"{path} has nheads {heads} but the model {model.config.nheads}: set model.nheads"
        )
    weights = complete_heads(source.weights, model.state_dict())
    report = compare(model.state_dict(), weights)
    if report.misfits:
        raise CheckpointError(
            f"{path} is of another architecture: {len(report.misfits)} tensors have another "
            f"shape, such as {report.misfits[0]}"
        )
    if not report.loaded:
        raise CheckpointError(f"{path} holds none of this model's {len(report.missing)} tensors")
    _fill(model, weights, report)
    if _covers_backbone(report):
        model.freeze_pretrained_backbone()
    return report


def _fill(model: DeformableDETR, weights: Mapping[str, Tensor], report: LoadReport) -> None:
    model.load_state_dict({name: weights[name] for name in report.loaded}, strict=False)


def _covers_backbone(report: LoadReport) -> bool:
    loaded, missing = (
        sum(name.startswith("backbone.") for name in names)
        for names in (report.loaded, report.missing)
    )
    return loaded >= LEAST_COVERAGE * (loaded + missing)
