"""From a file or folder of any known layout to a detector that computes the same."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ddetr_model.checkpoints._architecture import build_config, infer_config
from ddetr_model.checkpoints._foreign import ForeignCheckpoint
from ddetr_model.checkpoints._openmmlab import read_openmmlab
from ddetr_model.checkpoints._openmmlab_names import is_openmmlab
from ddetr_model.checkpoints.huggingface import is_huggingface, read_huggingface
from ddetr_model.checkpoints.original import read_original
from ddetr_model.config import ModelConfig
from ddetr_model.deformable_detr import DeformableDETR
from ddetr_model.images import PUBLISHED_PREPROCESS
from ddetr_model.weights import (
    METADATA_KEY,
    CheckpointError,
    CheckpointMetadata,
    LoadReport,
    compare,
    metadata_of,
    read_file,
    tensors_of,
)

__all__ = ["complete_heads", "import_checkpoint", "read_checkpoint"]

logger = logging.getLogger(__name__)


def import_checkpoint(
    path: str | os.PathLike[str],
    *,
    allow_partial: bool = False,
    **overrides: Any,
) -> tuple[DeformableDETR, LoadReport]:
    """Build the detector that a checkpoint is of, and fill it by name.

    Args:
        path: a .pth or .safetensors file, or a folder with config.json beside the weights.
        allow_partial: accept a file that lacks tensors; they stay random.
        overrides: ModelConfig fields that win over what is read or inferred; with another
            num_classes the class heads start anew, and stand among the report's mismatched.

    Returns:
        The detector, in eval mode with .metadata, and the report of what fitted.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the layout is unknown, or tensors are missing or misshapen.
    """
    path = Path(path)
    source = read_checkpoint(path)
    config = _config(source, overrides, path)
    model = DeformableDETR(config, load_backbone_file=False)
    weights = complete_heads(source.weights, model.state_dict())
    report = compare(model.state_dict(), weights)
    _check(report, path, allow_partial, new_classes="num_classes" in overrides)
    model.load_state_dict({name: weights[name] for name in report.loaded}, strict=False)
    model.metadata = CheckpointMetadata(
        model_config_=config,
        categories=() if report.mismatched else source.categories,  # no longer those of the heads
        preprocess=source.preprocess,
    )
    logger.info("imported=%s tensors=%d", path, len(report.loaded))
    if report.mismatched:
        logger.warning("re-initialised for %d classes: %s", config.num_classes, report.mismatched)
    return model.eval(), report


def read_checkpoint(path: Path) -> ForeignCheckpoint:
    """Read a file or folder of any known layout, ours included.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it cannot be read, or holds another kind of model.
    """
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint at {path}")
    contents = {} if path.is_dir() else read_file(path)
    if METADATA_KEY in contents:
        return _read_ours(contents, path)
    if path.is_dir() or is_huggingface(contents):
        return read_huggingface(path if path.is_dir() else path.parent)
    tensors = tensors_of(contents)
    if is_openmmlab(tensors):
        return read_openmmlab(contents, tensors, path)
    return read_original(contents, tensors, path)


def complete_heads(
    weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Give every prediction head its tensors where a file stores shared ones once.

    The published layout names the heads twice; Hugging Face leaves out whatever is shared.
    """
    complete = dict(weights)
    for name in expected:
        kind, _, rest = name.removeprefix("transformer.decoder.").partition(".")
        if name in complete or kind not in ("class_embed", "bbox_embed"):
            continue
        first_of_kind = f"{kind}.0.{rest.partition('.')[2]}"
        for stored in (f"{kind}.{rest}", f"transformer.decoder.{kind}.{rest}", first_of_kind):
            if stored in weights:
                complete[name] = weights[stored]
                break
    return complete


def _read_ours(contents: Mapping[str, Any], path: Path) -> ForeignCheckpoint:
    metadata = metadata_of(contents, path)
    preprocess = metadata.preprocess or PUBLISHED_PREPROCESS
    config = metadata.model_config_
    return ForeignCheckpoint(tensors_of(contents), {}, metadata.categories, preprocess, config)


def _config(source: ForeignCheckpoint, overrides: Mapping[str, Any], path: Path) -> ModelConfig:
    # Other projects let padding leak into an image; their weights' own answers come only so.
    stated = {"padding_invariant": False, **source.hints}
    if source.config is not None:
        stated = source.config.model_dump()
    if "num_classes" in overrides:
        stated.pop("num_select", None)  # may be more than what fewer classes can give
    fields = stated | dict(overrides)
    if source.config is not None:
        return build_config(fields, path)
    return infer_config(source.weights, fields, path)


def _check(report: LoadReport, path: Path, allow_partial: bool, *, new_classes: bool) -> None:
    misfits = report.misfits if new_classes else report.mismatched
    if misfits:
        raise CheckpointError(
            f"{path}: {len(misfits)} tensors have another shape than the architecture, "
            f"such as {misfits[0]}"
        )
    if report.missing and not allow_partial:
        raise CheckpointError(
            f"{path} lacks {len(report.missing)} of {len(report.missing) + len(report.loaded)} "
            f"tensors, such as {report.missing[0]}; allow_partial=True leaves them random\n"
            + report.table()
        )
