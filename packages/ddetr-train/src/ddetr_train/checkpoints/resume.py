"""Where a run continues, and whether it may."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ddetr_data.files import EncryptionError
from ddetr_model import DeformableDETR, LossConfig, ModelConfig, SetCriterion, parts_from_outside
from ddetr_model.checkpoints import check_tensors, refuse_non_finite
from ddetr_model.weights import COUNTER, metadata_of, tensors_of
from ddetr_train.checkpoints._optimizer_state import (
    StateShapes,
    check_state_shapes,
    state_shapes,
)
from ddetr_train.checkpoints.checkpoint_io import AtomicCheckpointIO
from ddetr_train.checkpoints.names import BEST_NAME, LATEST_NAME, epoch_files
from ddetr_train.config import GroupNames, TrainConfig

# Where the first weights came from does not matter once there is a checkpoint.
_FREE_MODEL_KEYS = {"pretrained_backbone_path"}
# Options that a new value changes from here on, with another result than an unbroken run's.
_CHANGING_KEYS = (
    "accumulate_grad_batches",
    "clip_grad_norm",
    "ema_decay",
    "precision",
)
# Options that a checkpoint's optimiser and schedules carry, so a new value would have no effect.
_CARRIED_KEYS = ("optim", "warmup_steps")
# What only a checkpoint of our training has, whatever else Lightning puts into it.
_TRAINING_STATE = {
    "loops",
    "ddetr",
    "DetectionDataModule",
    "hyper_parameters",
    "lr_schedulers",
    "optimizer_states",
    "train_loss",
}


class ResumeError(ValueError):
    """The checkpoint belongs to another run; the text names the difference."""


@dataclass(frozen=True)
class Resume:
    """A checkpoint to continue from, and what to tell the user."""

    path: Path
    epochs_done: int
    steps_done: int
    batch_size: int
    metrics: dict[str, float]
    notices: tuple[str, ...]
    tensors: dict[str, Tensor]  # names and shapes of the model's, without their values
    parts: Mapping[str, str]  # classes of what is not stock, as parts_of_run
    began_pretrained: bool  # the run froze what a pretrained backbone keeps
    state_shapes: StateShapes  # of the optimiser

    def prepare(self, network: DeformableDETR, criterion: SetCriterion) -> None:
        """Freeze what the run had frozen, and check that every tensor is one of the network's.

        Raises:
            ValueError: the file lacks a tensor, has one that the network does not have, or is of a
                run with other parts from outside.
        """
        present = parts_of_run(network, criterion)
        advice = "hand in the same parts, or choose another results_dir"
        _refuse_differences(self.path, "part", self.parts, present, set(), advice)
        # Batch norms that learn count their steps, frozen ones do not: the names of the tensors
        # tell which the run had, and Lightning takes no file with other names.
        live_there, live_here = (
            _has_live_norms(each) for each in (self.tensors, network.state_dict())
        )
        if live_there and not live_here:
            raise ResumeError(
                f"{self.path} was trained with live batch norms, which this model freezes: leave "
                "out model.pretrained_backbone_path, the weights come from the checkpoint"
            )
        if self.began_pretrained or (live_here and not live_there):
            network.freeze_pretrained_backbone()
        check_tensors(network, self.tensors, str(self.path))

    def check_optimizer(self, optimizer: Optimizer) -> None:
        """Check that the optimiser's state is one of the parameters that train here.

        Raises:
            ValueError: it is not.
        """
        check_state_shapes(self.state_shapes, optimizer, self.path)


def parts_of_run(network: DeformableDETR, criterion: SetCriterion) -> dict[str, str]:
    """Name the classes of parts from outside, of the network and of the losses."""
    losses = parts_from_outside(criterion)
    return parts_from_outside(network) | {
        "criterion" if part == "network" else f"criterion.{part}": kind
        for part, kind in losses.items()
    }


def find_resume_path(config: TrainConfig, results_dir: Path) -> Path | None:
    """Choose the given checkpoint, else the latest one of the folder, else none.

    Raises:
        FileNotFoundError: the given file is not there.
    """
    given = config.resume_training_checkpoint_path
    if given is not None:
        if not given.is_file():
            raise FileNotFoundError(f"train.resume_training_checkpoint_path {given} is not a file")
        return given
    latest = results_dir / LATEST_NAME
    return latest if latest.is_file() else None


def overtaken_notice(resume: Resume, results_dir: Path, files: AtomicCheckpointIO) -> str | None:
    """Say that the given checkpoint has had fewer updates than the folder's latest one."""
    latest = results_dir / LATEST_NAME
    if not latest.is_file() or latest.samefile(resume.path):
        return None
    try:
        steps = files.load_checkpoint(latest).get("global_step", 0)
    except ValueError:  # not readable, so nothing is lost with it
        return None
    if steps <= resume.steps_done:
        return None
    return (
        f"train.resume_training_checkpoint_path {resume.path} (step {resume.steps_done}) wins over "
        f"{latest} (step {steps}), which this run overwrites: leave the key out to go on from there"
    )


def read_resume(
    path: Path,
    model: ModelConfig,
    losses: LossConfig,
    config: TrainConfig,
    data_identity: Mapping[str, Any],
    files: AtomicCheckpointIO,
    processes: int = 1,
) -> Resume:
    """Check that the checkpoint continues this very run.

    Args:
        data_identity: of the data of this run.
        processes: that this run has on all machines together.

    Raises:
        ResumeError: the model or the data differ, or it holds no training state.
        ValueError: it cannot be read.
    """
    checkpoint = _loaded(path, config, files)
    if not checkpoint.keys() >= _TRAINING_STATE:
        raise ResumeError(
            f"{path} holds weights but no training state: pass it as train.pretrained_model_path"
        )
    metadata = metadata_of(checkpoint, str(path))
    stored, options = _stored_options(checkpoint), config.model_dump(mode="json")
    there = _model_block(metadata.model_config_, metadata.losses, stored["optim"])
    here = _model_block(model, losses, options["optim"])
    _refuse_differences(path, "model", there, here, _FREE_MODEL_KEYS)
    stored_data = checkpoint["DetectionDataModule"]["identity"]
    chosen = {"batch_size"} if config.batch_size == "auto" else set()
    _refuse_differences(path, "dataset", stored_data, data_identity, chosen)
    _refuse_other_processes(path, checkpoint["DetectionDataModule"], processes)
    _refuse_differences(path, "train", _shaping(stored), _shaping(options), set())
    tensors = tensors_of(checkpoint)
    refuse_non_finite(tensors, str(path))
    return Resume(
        path=path,
        epochs_done=_epochs_done(checkpoint, path),
        steps_done=checkpoint["global_step"],
        batch_size=stored_data["batch_size"],
        metrics=dict(metadata.metrics),
        notices=tuple(_changed_options(stored, options)),
        parts=checkpoint["hyper_parameters"].get("parts", {}),  # older runs were all stock
        tensors={name: value.to("meta") for name, value in tensors.items()},
        began_pretrained=stored.get("pretrained_model_path") is not None,
        state_shapes=state_shapes(checkpoint, path),
    )


def _epochs_done(checkpoint: Mapping[str, Any], path: Path) -> int:
    try:
        return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
    except (KeyError, TypeError, ValueError) as error:
        raise ResumeError(
            f"{path} does not say how many epochs it has ({error!r}): take another checkpoint, or "
            "pass it as train.pretrained_model_path"
        ) from error


def _stored_options(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Give the `train` block of a checkpoint; the first ones hold parts of it under `model`."""
    model, train = (dict(checkpoint["hyper_parameters"][key]) for key in ("model", "train"))
    names = {key: model[key] for key in GroupNames.model_fields if key in model}
    is_default = train["clip_grad_norm"] == TrainConfig.model_fields["clip_grad_norm"].default
    if is_default and "clip_max_norm" in model:  # which then was the limit
        train["clip_grad_norm"] = model["clip_max_norm"]
    return train | {"optim": names | train["optim"]}


def _model_block(
    model: ModelConfig, losses: LossConfig, optim: Mapping[str, Any]
) -> dict[str, Any]:
    """Join what a spec has in one block, for its keys are what a user can change."""
    fields = model.model_dump(mode="json") | losses.model_dump(mode="json")
    return fields | {key: optim[key] for key in GroupNames.model_fields}


def _has_live_norms(tensors: Iterable[str]) -> bool:
    """Only live batch norms count their steps."""
    return any(name.endswith(COUNTER) for name in tensors)


def _loaded(path: Path, config: TrainConfig, files: AtomicCheckpointIO) -> dict[str, Any]:
    """Read the file; where a damaged one was found by itself, say which others there are."""
    try:
        return files.load_checkpoint(path)
    except EncryptionError:
        raise
    except ValueError as error:
        if config.resume_training_checkpoint_path is not None:
            raise
        others = [*reversed(epoch_files(path.parent)), path.with_name(BEST_NAME)]
        intact = (each for each in others if each.is_file() and not each.samefile(path))
        other = next((str(each) for each in intact), None)
        advice = f"set train.resume_training_checkpoint_path to {other}, or " if other else ""
        raise ResumeError(f"{error}: {advice}remove the file to start anew") from error


def _refuse_differences(
    path: Path,
    block: str,
    stored: Mapping[str, Any],
    present: Mapping[str, Any],
    free: set[str],
    advice: str = "choose another results_dir, or pass the file as train.pretrained_model_path",
) -> None:
    differences = [
        f"{block}.{key} is {stored.get(key)} there and {present.get(key)} here"
        for key in sorted(stored.keys() | present.keys())
        if key not in free and stored.get(key) != present.get(key)
    ]
    if differences:
        raise ResumeError(f"{path} belongs to another run ({'; '.join(differences)}): {advice}")


def _refuse_other_processes(path: Path, stored: Mapping[str, Any], processes: int) -> None:
    """Inside an epoch a checkpoint says how many batches each process has had."""
    _, batches = stored["position"]
    if batches and stored["processes"] != processes:
        raise ResumeError(
            f"{path} was saved in the middle of an epoch by {stored['processes']} processes, here "
            f"are {processes}: continue with as many, or from a model_epoch_EEE.pth"
        )


def _shaping(options: Mapping[str, Any]) -> dict[str, Any]:
    """Pick what decides which tensors a checkpoint's training state has."""
    return {
        "freeze": options["freeze"],
        "ema_decay": "on" if options["ema_decay"] is not None else "off",
        "optim.optimizer": options["optim"]["optimizer"],
        "optim.lr_scheduler": options["optim"]["lr_scheduler"],
        "warmup_steps": "on" if options["warmup_steps"] else "off",
        "seed": options["seed"],
    }


def _changed_options(stored: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """Tell of options that differ: those that stay the checkpoint's, those that are new now."""
    carried = [
        f"train.{key} was changed, but a resumed run keeps the checkpoint's {stored.get(key)}"
        for key in _CARRIED_KEYS
        if stored.get(key) != present.get(key)
    ]
    changed = [
        f"train.{key} was {stored.get(key)} and is {present.get(key)} from here on"
        for key in _CHANGING_KEYS
        if stored.get(key) != present.get(key)
    ]
    return carried + changed
