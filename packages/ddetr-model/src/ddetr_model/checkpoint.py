"""Checkpoints that carry all that is needed to use them: weights, architecture, classes, scores."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from ddetr_model.config import ModelConfig
from ddetr_model.detector import DeformableDETR
from ddetr_model.weights import CheckpointError, read_file, tensors_of

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

METADATA_KEY = "ddetr"
FORMAT_VERSION = 1
WEIGHT_PREFIXES = ("model.model.", "model.", "module.")


class CheckpointMetadata(BaseModel):
    """What a checkpoint says about itself, under its top-level key "ddetr"."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", protected_namespaces=(), populate_by_name=True
    )

    format_version: int = Field(FORMAT_VERSION, description="Raised when old readers would err.")
    model_config_: ModelConfig = Field(alias="model", description="The architecture.")
    categories: tuple[dict[str, Any], ...] = Field((), description='{"id", "name"} of each class.')
    preprocess: dict[str, Any] | None = Field(None, description="How images become tensors.")
    metrics: dict[str, float] = Field(default_factory=dict, description="Scores when saved.")


class LoadReport(NamedTuple):
    """Tensor names, sorted: what load_pretrained took and what it could not."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]


def metadata_dict(
    config: ModelConfig,
    *,
    categories: Sequence[Mapping[str, Any]] = (),
    preprocess: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Make the plain value of a checkpoint's "ddetr" key, readable with weights_only=True."""
    metadata = CheckpointMetadata(
        model_config_=config,
        categories=tuple(dict(category) for category in categories),
        preprocess=None if preprocess is None else dict(preprocess),
        metrics=dict(metrics or {}),
    )
    return metadata.model_dump(mode="json", by_alias=True)


def save_checkpoint(
    model: DeformableDETR,
    path: str | os.PathLike[str],
    *,
    categories: Sequence[Mapping[str, Any]] = (),
    preprocess: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Write weights and metadata; path holds the old file or the whole new one at any moment."""
    metadata = metadata_dict(
        model.config, categories=categories, preprocess=preprocess, metrics=metrics
    )
    _write_atomically({"state_dict": model.state_dict(), METADATA_KEY: metadata}, Path(path))


def load_checkpoint(path: str | os.PathLike[str]) -> DeformableDETR:
    """Read a detector, in eval mode on the CPU, with .config and .metadata.

    Takes files of save_checkpoint and Lightning checkpoints with our metadata.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is something else, or tensors are missing or misshapen.
    """
    contents = read_file(Path(path))
    metadata = _metadata_of(contents, path)
    model = DeformableDETR(metadata.model_config_, load_backbone_file=False)
    weights = _bare_weights(contents, path)
    expected = model.state_dict()
    report = _compare(expected, weights)
    if report.missing or report.mismatched:
        raise CheckpointError(
            f"{path} does not fit its own architecture: {len(report.missing)} tensors are missing "
            f"and {len(report.mismatched)} have another shape, such as "
            f"{(report.missing + report.mismatched)[0]}"
        )
    model.load_state_dict({name: weights[name] for name in report.loaded}, strict=False)
    model.metadata = metadata
    return model.eval()


def read_metadata(path: str | os.PathLike[str]) -> CheckpointMetadata:
    """Read what a checkpoint says about itself.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file has no metadata of ours.
    """
    return _metadata_of(read_file(Path(path)), path)


def load_pretrained(model: DeformableDETR, path: str | os.PathLike[str]) -> LoadReport:
    """Take over every tensor of the same name and shape; class heads of another size stay random.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: no tensor fits, or one beside the class heads has another shape.
    """
    weights = _bare_weights(read_file(Path(path)), path)
    report = _compare(model.state_dict(), weights)
    wrong = [name for name in report.mismatched if "class_embed." not in name]
    if wrong:
        raise CheckpointError(
            f"{path} is of another architecture: {len(wrong)} tensors have another shape, "
            f"such as {wrong[0]}"
        )
    if not report.loaded:
        raise CheckpointError(f"{path} holds none of this model's {len(report.missing)} tensors")
    model.load_state_dict({name: weights[name] for name in report.loaded}, strict=False)
    return report


def _write_atomically(contents: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            torch.save(contents, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _metadata_of(contents: Mapping[str, Any], path: str | os.PathLike[str]) -> CheckpointMetadata:
    if METADATA_KEY not in contents:
        raise CheckpointError(f"{path} does not say its architecture: the key 'ddetr' is missing")
    try:
        return CheckpointMetadata.model_validate(contents[METADATA_KEY])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{path} has bad metadata: {place}: {first['msg']}") from error


def _bare_weights(contents: Mapping[str, Any], path: str | os.PathLike[str]) -> dict[str, Tensor]:
    tensors = tensors_of(contents)
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors")
    for prefix in WEIGHT_PREFIXES:
        stripped = {
            name.removeprefix(prefix): value
            for name, value in tensors.items()
            if name.startswith(prefix)
        }
        if stripped:
            return stripped
    return tensors


def _compare(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> LoadReport:
    shared = expected.keys() & weights.keys()
    fitting = {name for name in shared if expected[name].shape == weights[name].shape}
    counters = {name for name in expected if name.endswith(".num_batches_tracked")}
    return LoadReport(
        loaded=tuple(sorted(fitting)),
        missing=tuple(sorted(expected.keys() - weights.keys() - counters)),
        unexpected=tuple(sorted(weights.keys() - expected.keys())),
        mismatched=tuple(sorted(shared - fitting)),
    )
