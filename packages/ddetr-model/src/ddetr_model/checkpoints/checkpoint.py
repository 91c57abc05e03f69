"""Checkpoints that carry all that is needed to use them: weights, architecture, classes, scores."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ddetr_model.checkpoints._whole_file import writing_whole
from ddetr_model.checkpoints.filling import complete_heads, fill
from ddetr_model.checkpoints.source import (
    check_heads,
    check_parts,
    import_checkpoint,
    read_checkpoint,
)
from ddetr_model.deformable_detr import DeformableDETR
from ddetr_model.parts import parts_from_outside
from ddetr_model.weights import (
    LEAST_COVERAGE,
    METADATA_KEY,
    CheckpointError,
    CheckpointMetadata,
    LoadReport,
    Source,
    compare,
    metadata_dict,
    metadata_of,
    name_of,
    read_file,
)

__all__ = ["load_checkpoint", "load_pretrained", "read_metadata", "save_checkpoint"]


def save_checkpoint(
    model: DeformableDETR,
    target: str | os.PathLike[str] | BinaryIO,
    *,
    categories: Sequence[Mapping[str, Any]] = (),
    preprocess: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Write weights and metadata; a path holds the old file or the whole new one at any moment.

    Args:
        model: what to save.
        target: the path, or a file open for writing, as one that encrypts.
        categories: {"id", "name"} of each class.
        preprocess: fields of ddetr_data's PreprocessConfig.
        metrics: scores.

    Raises:
        OSError: the file cannot be written; the error names it.
    """
    metadata = metadata_dict(
        model.config,
        losses=model.losses,
        parts=parts_from_outside(model),
        categories=categories,
        preprocess=preprocess,
        metrics=metrics,
    )
    contents = {"state_dict": model.state_dict(), METADATA_KEY: metadata}
    if not isinstance(target, (str, os.PathLike)):
        torch.save(contents, target)
        return
    with writing_whole(Path(target)) as file:
        torch.save(contents, file)


def load_checkpoint(
    source: Source, *, strict: bool = True, network: DeformableDETR | None = None
) -> DeformableDETR:
    """Read a detector, in eval mode on the CPU, with .config and .metadata.

    Takes files of save_checkpoint, Lightning checkpoints with our metadata, and all that
    import_checkpoint reads: the original authors', TAO's, OpenMMLab's, a Hugging Face folder.

    Args:
        source: the path, or the file opened with mode "rb", which whoever encrypts files decrypts.
        strict: refuse a file with tensors that the model does not have, as a changed model's;
            otherwise a warning lists them and the detector computes without them.
        network: what to fill, for a file with parts from outside: the same network, built by the
            caller. It stays on its device.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is something else, tensors are missing, misshapen, unknown or not
            finite, or it has parts from outside that the network has not.
    """
    return import_checkpoint(source, strict=strict, network=network)[0]


def read_metadata(source: Source) -> CheckpointMetadata:
    """Read what a checkpoint, given by its path or open, says about itself.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file has no metadata of ours.
    """
    return metadata_of(read_file(source), name_of(source))


def load_pretrained(model: DeformableDETR, source: Source) -> LoadReport:
    """Take over every tensor of the same name and shape; class heads of another size stay random.

    Reads the same files as load_checkpoint. Tensors that one of the two does not have are no error
    here and stand in the report. A backbone that comes along counts as pretrained: its batch norms,
    and a ResNet's stem and first stage, are frozen as SPEC.md says. model.metadata then holds the
    file's preprocessing, and its classes where their heads were taken over.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: no tensor fits, one beside the class heads has another shape, or the file
            is of a network with parts from outside that the model has not.
    """
    name = name_of(source)
    stored = read_checkpoint(source)
    check_parts(stored.parts, name, model, how="load the file into that")
    check_heads(stored, model.config, name)
    weights = complete_heads(stored.weights, model.state_dict(), are_tied=stored.ties_heads)
    report = compare(model.state_dict(), weights)
    if report.misfits:
        raise CheckpointError(
            f"{name} is of another architecture: {len(report.misfits)} tensors have another "
            f"shape, such as {report.misfits[0]}"
        )
    if not report.loaded:
        raise CheckpointError(f"{name} holds none of this model's {len(report.missing)} tensors")
    fill(model, weights, report)
    if _covers_backbone(report):
        model.freeze_pretrained_backbone()
    model.metadata = CheckpointMetadata(
        model_config_=model.config,
        losses=model.losses,
        categories=stored.categories if report.has_classes else (),
        preprocess=stored.preprocess,
    )
    return report


def _covers_backbone(report: LoadReport) -> bool:
    loaded, missing = (
        sum(name.startswith("backbone.") for name in names)
        for names in (report.loaded, report.missing)
    )
    return loaded >= LEAST_COVERAGE * (loaded + missing)
