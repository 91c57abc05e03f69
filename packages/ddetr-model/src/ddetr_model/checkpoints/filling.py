"""Filling a model by name: with all of its tensors, and with none that it does not have."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ddetr_model.weights import CheckpointError, LoadReport, compare, first_names

__all__ = ["check_tensors", "complete_heads", "fill", "has_own_heads", "refuse_non_finite"]

logger = logging.getLogger(__name__)

# Tensors that trainers store beside a detector's and that change no detection.
WITHOUT_EFFECT = re.compile(
    r"(mask_head|bbox_attention)\."  # the published mask branch, which reads what is detected
    r"|criterion\."  # buffers of the losses
    r"|ema_|(ema|ema_model|model_ema)\."  # a second, averaged copy of the model
    r"|backbone\.0\.body\.(fc|head|classifier)\."  # of the backbone's own training
)
# Of a backbone's stages those beyond the last that the pyramid takes are computed for nothing.
STAGE = re.compile(r"backbone\.0\.body\.(?:layer|stages[._]|norm)(\d+)\.")
HEAD_PREFIXES = ("", "transformer.decoder.")  # both name the same heads
HEAD = re.compile(r"(?:transformer\.decoder\.)?(class_embed|bbox_embed)\.(\d+)\.")


def fill(model: nn.Module, weights: Mapping[str, Tensor], report: LoadReport) -> None:
    """Give a model those of a file's tensors that fit by the report of check_tensors."""
    model.load_state_dict({name: weights[name] for name in report.loaded}, strict=False)


def check_tensors(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    source: str,
    *,
    strict: bool = True,
    allow_partial: bool = False,
    new_classes: bool = False,
) -> LoadReport:
    """Compare a file's tensors with those of the model that it is said to be of.

    Args:
        model: what is to be filled.
        weights: tensors under the published names; their values are not looked at.
        source: what errors call the file.
        strict: refuse tensors that the model does not have; otherwise a warning lists them.
        allow_partial: accept that tensors are missing.
        new_classes: accept class heads of another size.

    Raises:
        CheckpointError: a tensor is missing, has another shape or is unknown to the model.
    """
    expected = model.state_dict()
    report = compare(expected, weights)
    misshapen = report.misfits if new_classes else report.mismatched
    if misshapen:
        raise CheckpointError(
            f"{source}: {len(misshapen)} tensors have another shape than the architecture, such as "
            f"{misshapen[0]}: it was changed, or tells another architecture than its own"
        )
    if report.missing and not allow_partial:
        raise CheckpointError(
            f"{source} lacks {len(report.missing)} of {len(report.missing) + len(report.loaded)} "
            f"tensors, such as {first_names(report.missing)}: "
            "`ddetr import --allow-partial` leaves them random"
        )
    unknown = _unknown(report.unexpected, expected)
    if unknown and strict:
        raise CheckpointError(
            f"{source} holds {len(unknown)} tensors that the model does not have, such as "
            f"{first_names(unknown)}: it is of a changed model, whose answers cannot be had here; "
            "`ddetr import --allow-unknown` leaves them out"
        )
    if unknown:
        logger.warning("left out of %s: %s", source, ", ".join(unknown))
    return report


def refuse_non_finite(weights: Mapping[str, Tensor], source: str) -> None:
    """Keep a file of weights with which nothing would be detected from being used.

    Raises:
        CheckpointError: a number is NaN or infinite.
    """
    for name, values in weights.items():
        if not torch.isfinite(values).all():
            raise CheckpointError(
                f"{source} has NaN or infinite values in {name}: its training went wrong, take an "
                "earlier checkpoint"
            )


def complete_heads(
    weights: Mapping[str, Tensor], expected: Iterable[str], *, are_tied: bool = False
) -> dict[str, Tensor]:
    """Give every prediction head its tensors where a file stores shared ones once.

    The published layout names the heads twice; Hugging Face leaves out whatever is shared.

    Args:
        weights: the file's tensors under the published names.
        expected: names of the model's tensors.
        are_tied: decoder layers with box refinement may share a head too, as in transformers.
    """
    complete = dict(weights)
    is_shared = are_tied or not has_own_heads(weights)
    stored_once = _heads_stored_once(weights) if is_shared else set()
    for name in expected:
        head = HEAD.match(name)
        if name in complete or head is None:
            continue
        kind, index = head.groups()
        part = name[head.end() :]
        indices = [index, "0"] if kind in stored_once else [index]
        names = [f"{prefix}{kind}.{i}.{part}" for i in indices for prefix in HEAD_PREFIXES]
        stored = next((each for each in names if each in weights), None)
        if stored is not None:
            complete[name] = weights[stored]
    return complete


def has_own_heads(weights: Mapping[str, Tensor]) -> bool:
    """Tell whether each decoder layer has a box head of its own, as with box refinement.

    The published names say so; where they are left out, heads that differ do.
    """
    heads = [name for name in weights if name.startswith("bbox_embed.")]
    first = {name: re.sub(r"\.\d+\.", ".0.", name, count=1) for name in heads}
    return any(name.startswith("transformer.decoder.bbox_embed.") for name in weights) or any(
        first[name] in weights and not torch.equal(weights[name], weights[first[name]])
        for name in heads
    )


def _heads_stored_once(names: Iterable[str]) -> set[str]:
    """Say which kinds of heads a file has one of, that all decoder layers share."""
    heads = {(match[1], match[2]) for name in names if (match := HEAD.match(name))}
    kinds = [kind for kind, _ in heads]
    return {kind for kind in kinds if kinds.count(kind) == 1 and (kind, "0") in heads}


def _unknown(unexpected: Iterable[str], expected: Iterable[str]) -> list[str]:
    """Drop the names of tensors that are known to be without effect."""
    stages = [int(match[1]) for name in expected if (match := STAGE.match(name))]
    last = max(stages, default=None)

    def is_later_stage(name: str) -> bool:
        stage = STAGE.match(name)
        return stage is not None and last is not None and int(stage[1]) > last

    return [n for n in unexpected if not (WITHOUT_EFFECT.match(n) or is_later_stage(n))]
