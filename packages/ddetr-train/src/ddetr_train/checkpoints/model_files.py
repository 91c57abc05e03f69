"""Checkpoints on the disk, plain or encrypted, as models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ddetr_data.files import is_encrypted
from ddetr_model import DeformableDETR
from ddetr_model.checkpoints import load_checkpoint, load_pretrained
from ddetr_model.weights import CheckpointMetadata, LoadReport, compare, metadata_of, tensors_of
from ddetr_train.checkpoints.checkpoint_io import AtomicCheckpointIO

_NAMES_SHOWN = 3
_BACKBONE = "backbone."


def load_model(
    path: Path, encryption_key: str | None = None
) -> tuple[DeformableDETR, CheckpointMetadata]:
    """Read a detector, in eval mode on the CPU, and what its file says about it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no checkpoint of a detector, or the key does not open it.
    """
    path = Path(path)
    if not path.is_file() or not is_encrypted(path):
        model = load_checkpoint(path)
        return model, model.metadata or CheckpointMetadata(model_config_=model.config)
    contents = AtomicCheckpointIO(encryption_key).load_checkpoint(path)
    metadata = metadata_of(contents, path)
    model = DeformableDETR(metadata.model_config_, load_backbone_file=False)
    weights = tensors_of(contents)
    report = compare(model.state_dict(), weights)
    if report.missing or report.mismatched:
        first = (report.missing + report.mismatched)[0]
        raise ValueError(f"{path} does not fit its own architecture, for example in {first}")
    _fill(model, weights, report)
    return model.eval(), metadata


def start_from(model: DeformableDETR, path: Path, encryption_key: str | None = None) -> str:
    """Load the tensors that fit and say in one sentence which did and which did not.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no checkpoint, not one of this architecture, or locked.
    """
    if not path.is_file() or not is_encrypted(path):
        return _describe(load_pretrained(model, path), path)
    weights = tensors_of(AtomicCheckpointIO(encryption_key).load_checkpoint(path))
    report = compare(model.state_dict(), weights)
    if report.misfits or not report.loaded:
        first = (report.misfits + report.missing)[0]
        raise ValueError(f"{path} is of another architecture, for example in {first}")
    _fill(model, weights, report)
    if not any(name.startswith(_BACKBONE) for name in report.missing):
        model.freeze_pretrained_backbone()
    return _describe(report, path)


def _fill(model: DeformableDETR, weights: Mapping[str, Tensor], report: LoadReport) -> None:
    """Load what fits; a live batch norm's counter of steps may be absent."""
    model.load_state_dict({name: weights[name] for name in report.loaded}, strict=False)


def _describe(report: LoadReport, path: Path) -> str:
    """Count the tensors by what became of them, naming the first of each kind."""
    parts = [f"loaded {len(report.loaded)} tensors of {path}"]
    kinds = (
        ("missing in the file", report.missing),
        ("unknown to the model", report.unexpected),
        ("of another shape and started anew", report.mismatched),
    )
    for words, names in kinds:
        if names:
            more = ", ..." if len(names) > _NAMES_SHOWN else ""
            parts.append(f"{len(names)} {words} ({', '.join(names[:_NAMES_SHOWN])}{more})")
    return "; ".join(parts)
