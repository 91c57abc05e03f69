"""The options of a run that goes on: what it keeps of its checkpoint, what is new, what is refused.

"There" is the checkpoint, "here" is this start.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ddetr_model import LossConfig, ModelConfig
from ddetr_train.config import GroupNames, OptimizerConfig, TrainConfig

# Options that a new value changes from here on, with another result than an unbroken run's.
_CHANGING_KEYS = (
    "accumulate_grad_batches",
    "clip_grad_norm",
    "ema_decay",
    "max_detections",
    "precision",
    "sync_batchnorm",
)


class ResumeError(ValueError):
    """The checkpoint belongs to another run; the text names the difference."""


def refuse_differences(
    path: Path,
    block: str,
    stored: Mapping[str, Any],
    present: Mapping[str, Any],
    free: Container[str] = (),
    advice: str = "choose another results_dir, or pass the file as train.pretrained_model_path",
) -> None:
    """Compare two blocks of options key by key.

    Raises:
        ResumeError: they differ in a key that is not free.
    """
    differing = [
        key
        for key in sorted(stored.keys() | present.keys())
        if key not in free and stored.get(key) != present.get(key)
    ]
    if not differing:
        return
    if block == "model" and set(differing) <= GroupNames.model_fields.keys():
        advice = f"{advice}, or set train.resume_optim to new"
    differences = [
        f"{block}.{key} is {stored.get(key)} there and {present.get(key)} here" for key in differing
    ]
    raise ResumeError(f"{path} belongs to another run ({'; '.join(differences)}): {advice}")


def stored_config(checkpoint: Mapping[str, Any], path: Path) -> TrainConfig:
    """Read the options that a checkpoint's run had; the first ones hold some under `model`.

    Raises:
        ResumeError: a value is none that such an option can have.
    """
    model, train = (dict(checkpoint["hyper_parameters"][key]) for key in ("model", "train"))
    names = {key: model[key] for key in GroupNames.model_fields if key in model}
    is_default = train["clip_grad_norm"] == TrainConfig.model_fields["clip_grad_norm"].default
    if is_default and "clip_max_norm" in model:  # which then was the limit
        train["clip_grad_norm"] = model["clip_max_norm"]
    train["optim"] = names | train["optim"]
    try:
        return TrainConfig.model_validate(train)
    except ValidationError as error:
        keys = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors())
        raise ResumeError(
            f"{path} has options that no run has (train.{keys}): take another checkpoint, or pass "
            "it as train.pretrained_model_path"
        ) from error


def model_block(model: ModelConfig, losses: LossConfig, optim: OptimizerConfig) -> dict[str, Any]:
    """Join what a spec has in one block, for its keys are what a user can change."""
    fields = model.model_dump(mode="json") | losses.model_dump(mode="json")
    return fields | optim.model_dump(mode="json", include=set(GroupNames.model_fields))


def shaping_options(config: TrainConfig) -> dict[str, Any]:
    """Pick what decides which tensors a run has, and what it draws."""
    return {
        "freeze": sorted(set(config.freeze)),
        "ema_decay": "on" if config.ema_decay is not None else "off",
        "seed": config.seed,
    }


def continued_config(stored: TrainConfig, config: TrainConfig) -> TrainConfig:
    """Give the options that a run truly goes on with.

    The first weights came from where they came, and unless resume_optim is new the optimiser and
    its schedules are the checkpoint's.
    """
    kept: dict[str, Any] = {"pretrained_model_path": stored.pretrained_model_path}
    if config.resume_optim == "keep":
        kept |= {"optim": stored.optim, "warmup_steps": stored.warmup_steps}
    return config.model_copy(update=kept)


def changed_options(stored: TrainConfig, config: TrainConfig) -> list[str]:
    """Tell of options that differ: those that stay the checkpoint's, those that are new now."""
    there, here = (_flat(each) for each in (stored, config))
    optim = [key for key in there if key.startswith("optim.")] + ["warmup_steps"]
    differing = [key for key in (*optim, *_CHANGING_KEYS) if there[key] != here[key]]
    kept = [key for key in differing if key in optim and config.resume_optim == "keep"]
    told = [
        f"train.{key} was {there[key]} and is {here[key]} from here on"
        for key in differing
        if key not in kept
    ]
    if kept:
        values = ", ".join(f"train.{key} {there[key]} (not {here[key]})" for key in kept)
        what = "train.optim" if kept != ["warmup_steps"] else "train.warmup_steps"
        told.insert(
            0,
            f"{what} was changed, but a resumed run keeps the checkpoint's: {values}; with "
            "train.resume_optim new it takes the new values",
        )
    return told


def changes_optimizer(stored: TrainConfig, config: TrainConfig) -> bool:
    """Say whether a run goes on with another optimiser or schedule than it had."""
    return (stored.optim, stored.warmup_steps) != (config.optim, config.warmup_steps)


def unread_files(
    config: TrainConfig, stored: TrainConfig, model: ModelConfig, stored_model: ModelConfig
) -> Iterator[str]:
    """Name the files of weights that a run which goes on does not read, as it never did."""
    given, first = config.pretrained_model_path, stored.pretrained_model_path
    if given not in (None, first):
        yield f"train.pretrained_model_path {given}"
    backbone, first_backbone = (each.pretrained_backbone_path for each in (model, stored_model))
    if backbone not in (None, first_backbone):
        yield f"model.pretrained_backbone_path {backbone}"


def _flat(config: TrainConfig) -> dict[str, Any]:
    options = config.model_dump(mode="json")
    return options | {f"optim.{key}": value for key, value in options["optim"].items()}
