"""From a file or folder of any known layout to a detector that computes the same."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddetr_model.checkpoints._architecture import build_config, infer_fields
from ddetr_model.checkpoints._foreign import ForeignCheckpoint
from ddetr_model.checkpoints._openmmlab import read_openmmlab
from ddetr_model.checkpoints._openmmlab_names import is_openmmlab
from ddetr_model.checkpoints.filling import (
    check_tensors,
    complete_heads,
    fill,
    refuse_non_finite,
)
from ddetr_model.checkpoints.huggingface import (
    is_huggingface,
    read_huggingface,
    read_huggingface_file,
)
from ddetr_model.checkpoints.original import read_original
from ddetr_model.config import LossConfig, ModelConfig
from ddetr_model.deformable_detr import DeformableDETR
from ddetr_model.parts import described, parts_from_outside
from ddetr_model.weights import (
    METADATA_KEY,
    CheckpointError,
    CheckpointMetadata,
    LoadReport,
    Source,
    metadata_of,
    name_of,
    path_of,
    read_file,
    tensors_of,
)

__all__ = ["check_heads", "check_parts", "import_checkpoint", "read_checkpoint"]

logger = logging.getLogger(__name__)


def import_checkpoint(
    source: Source,
    *,
    strict: bool = True,
    allow_partial: bool = False,
    network: DeformableDETR | None = None,
    **overrides: Any,
) -> tuple[DeformableDETR, LoadReport]:
    """Build the detector that a checkpoint is of, and fill it by name.

    Args:
        source: a .pth or .safetensors file, or a folder with config.json beside the weights; or
            such a file opened with mode "rb".
        strict: refuse a file with tensors that the model does not have, as a changed model's;
            otherwise they stand among the report's unexpected.
        allow_partial: accept a file that lacks tensors; they stay random.
        network: fill this one instead of building the stock network; a file with parts from
            outside needs it, since no file names code to import. It keeps its own config.
        overrides: fields of ModelConfig and LossConfig that win over what is read or inferred;
            with another num_classes the class heads start anew, and stand among the report's
            mismatched.

    Returns:
        The detector, in eval mode with .metadata, and the report of what fitted.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the layout is unknown, tensors are missing, misshapen, unknown or not
            finite, or it has parts from outside that the network has not.
        TypeError: there are overrides beside a network.
    """
    name = name_of(source)
    stored = read_checkpoint(source)
    model = _chosen_network(stored, network, overrides, name)
    weights = complete_heads(stored.weights, model.state_dict(), are_tied=stored.ties_heads)
    report = check_tensors(
        model,
        weights,
        name,
        strict=strict,
        allow_partial=allow_partial,
        new_classes="num_classes" in overrides,
    )
    fill(model, weights, report)
    refuse_non_finite(model.state_dict(), name)
    has_its_heads = not report.mismatched
    model.metadata = CheckpointMetadata(
        model_config_=model.config,
        losses=model.losses,
        parts=parts_from_outside(model),
        categories=stored.categories if has_its_heads else (),
        preprocess=stored.preprocess,
        metrics=stored.metrics if has_its_heads else {},
    )
    logger.info("imported=%s tensors=%d", name, len(report.loaded))
    if report.mismatched:
        classes = model.config.num_classes
        logger.warning("re-initialised for %d classes: %s", classes, report.mismatched)
    return model.eval(), report


def read_checkpoint(source: Source) -> ForeignCheckpoint:
    """Read a file or folder of any known layout, ours included.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it cannot be read, or holds another kind of model.
    """
    if isinstance(source, (str, os.PathLike)) and Path(source).is_dir():
        return read_huggingface(Path(source))
    name = name_of(source)
    contents = read_file(source)
    if METADATA_KEY in contents:
        return _read_ours(contents, name)
    if is_huggingface(contents):
        return read_huggingface_file(contents, path_of(source))
    tensors = tensors_of(contents)
    if is_openmmlab(tensors):
        return read_openmmlab(contents, tensors, name)
    return read_original(contents, tensors, name)


def check_parts(
    parts: Mapping[str, str],
    name: str,
    network: DeformableDETR | None,
    how: str = "pass it with the file, as network=...",
) -> None:
    """Keep a network with parts from outside from being taken for another, such as the stock one.

    A class may have moved to another module since; what is compared is its own name.

    Args:
        parts: their classes, by what the file of this name says.
        name: of the file.
        network: what shall be filled; None for the stock network.
        how: what is done with the right network, for the error's text.

    Raises:
        CheckpointError: the network lacks such a part; the text names its class as it was saved.
    """
    present = {} if network is None else parts_from_outside(network)
    lacking = {
        part: kind
        for part, kind in parts.items()
        if present.get(part, "").rpartition(".")[2] != kind.rpartition(".")[2]
    }
    if lacking:
        given = {part: present.get(part, "the stock one") for part in lacking}
        instead = f"; the given network has {described(given)}" if network is not None else ""
        raise CheckpointError(
            f"{name} is of a network with parts from outside of ddetr-model "
            f"({described(lacking)}): build that network in Python and {how}{instead}; the command "
            "line knows stock parts alone"
        )


def check_heads(stored: ForeignCheckpoint, config: ModelConfig, name: str) -> None:
    """Compare the number of attention heads, of which no tensor's shape depends.

    Raises:
        CheckpointError: the file has another one than the model.
    """
    if stored.num_heads not in (None, config.nheads):
        raise CheckpointError(
            f"{name} has nheads {stored.num_heads} but the model {config.nheads}: set model.nheads"
        )


def _chosen_network(
    stored: ForeignCheckpoint,
    network: DeformableDETR | None,
    overrides: Mapping[str, Any],
    name: str,
) -> DeformableDETR:
    check_parts(stored.parts, name, network)
    if network is None:
        config, losses = _configs(stored, overrides, name)
        return DeformableDETR(config, losses=losses, load_backbone_file=False)
    if overrides:
        raise TypeError(f"{', '.join(overrides)} cannot override what a given network is")
    check_heads(stored, network.config, name)
    return network


def _read_ours(contents: Mapping[str, Any], name: str) -> ForeignCheckpoint:
    metadata = metadata_of(contents, name)
    return ForeignCheckpoint(
        tensors_of(contents),
        metadata.losses.model_dump(),
        metadata.categories,
        metadata.preprocess,
        metadata.model_config_,
        metadata.metrics,
        parts=metadata.parts,
    )


def _configs(
    stored: ForeignCheckpoint, overrides: Mapping[str, Any], name: str
) -> tuple[ModelConfig, LossConfig]:
    # Other projects let padding leak into an image; their weights' own answers come only so.
    stated = {"padding_invariant": False} if stored.config is None else dict(stored.config)
    stated |= stored.hints
    if "num_classes" in overrides:
        stated.pop("num_select", None)  # may be more than what fewer classes can give
    fields = stated | dict(overrides)
    losses = {key: fields.pop(key) for key in LossConfig.model_fields if key in fields}
    if stored.config is None:
        fields = infer_fields(stored.weights, fields, name)
    return build_config(ModelConfig, fields, name), build_config(LossConfig, losses, name)
