"""Where a run continues, and whether it may."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ddetr_data.files import EncryptionError
from ddetr_model import DeformableDETR, LossConfig, ModelConfig, SetCriterion, parts_from_outside
from ddetr_model.checkpoints import check_tensors, refuse_non_finite
from ddetr_model.weights import COUNTER, metadata_of, tensors_of
from ddetr_train.checkpoints._global_batch import batch_notice
from ddetr_train.checkpoints._optimizer_state import (
    StateShapes,
    check_state_shapes,
    state_shapes,
)
from ddetr_train.checkpoints.checkpoint_io import AtomicCheckpointIO
from ddetr_train.checkpoints.names import BEST_NAME, LATEST_NAME, epoch_files
from ddetr_train.checkpoints.options import (
    ResumeError,
    changed_options,
    changes_optimizer,
    continued_config,
    model_block,
    refuse_differences,
    shaping_options,
    stored_config,
    unread_files,
)
from ddetr_train.checkpoints.patience import Patience
from ddetr_train.checkpoints.progress import epochs_done, epochs_trained
from ddetr_train.config import GroupNames, TrainConfig

# Where the first weights came from does not matter once there is a checkpoint.
_FREE_MODEL_KEYS = {"pretrained_backbone_path"}
_FREE_DATA_KEYS = {"batch_size", "transform"}
_SAME_TRANSFORM = (
    "a checkpoint names code and never brings it; hand in the same transform (on the command line "
    "--allow-code MODULE:FUNCTION), or none where it names none, or choose another results_dir"
)
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


@dataclass(frozen=True)
class Resume:
    """A checkpoint to continue from, and what to tell the user."""

    path: Path
    epochs_done: int
    epochs_trained: int  # one more where only the validation of an epoch is left
    steps_done: int
    batch_size: int
    metrics: dict[str, float]
    notices: tuple[str, ...]
    tensors: dict[str, Tensor]  # names and shapes of the model's, without their values
    parts: Mapping[str, str]  # classes of what is not stock, as parts_of_run
    state_shapes: StateShapes  # of the optimiser
    stored: TrainConfig  # what the run had so far
    config: TrainConfig  # what it goes on with
    model: ModelConfig  # likewise
    unread: tuple[str, ...]  # options that name files of weights, which are the checkpoint's
    patience: Patience

    @property
    def has_new_optimizer(self) -> bool:
        """Whether the optimiser or its schedules are others from here on."""
        return changes_optimizer(self.stored, self.config)

    @property
    def nothing_left(self) -> str | None:
        """Say why there is nothing to train, and what to change to go on; None where there is."""
        if self.epochs_done >= self.config.num_epochs:
            return (
                f"{self.path} has {self.epochs_done} epochs and train.num_epochs is "
                f"{self.config.num_epochs}, nothing is left to train: raise train.num_epochs to "
                "go on"
            )
        if self.patience.is_used_up(self.config):
            return (
                f"{self.path} was stopped early: {self.patience.sentence}, nothing is left to "
                "train: raise train.early_stopping_patience or train.num_epochs to go on"
            )
        return None

    def prepare(self, network: DeformableDETR, criterion: SetCriterion) -> tuple[str, ...]:
        """Freeze what the run had frozen, and check that every tensor is one of the network's.

        Returns:
            What to tell of a difference that is no fault.

        Raises:
            ValueError: the file lacks a tensor, has one that the network does not have, or is of a
                run with other parts from outside.
        """
        present = parts_of_run(network, criterion)
        advice = "hand in the same parts, or choose another results_dir"
        refuse_differences(self.path, "part", self.parts, present, advice=advice)
        # Batch norms that learn count their steps, frozen ones do not: the names of the tensors
        # tell which the run had.
        began_pretrained = self.stored.pretrained_model_path is not None
        live_there = _counters(self.tensors)
        if not live_there and (began_pretrained or _counters(network.state_dict())):
            network.freeze_pretrained_backbone()
        check_tensors(network, self.tensors, str(self.path))
        stopped = live_there - _counters(network.state_dict())
        by_name = {name for name in stopped if _is_below(name, self.config.freeze)}
        if stopped - by_name:
            raise ResumeError(
                f"{self.path} was trained with live batch norms, which this network freezes: hand "
                "in one that does not"
            )
        if not by_name:
            return ()
        return (
            f"{len(by_name)} batch norms of train.freeze moved so far and keep their statistics "
            "from here on",
        )

    def check_optimizer(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Check that the optimiser's state is of these groups, those of `stored.optim`.

        Raises:
            ValueError: it is not.
        """
        check_state_shapes(self.state_shapes, groups, self.path)


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
    try:
        return _continuing(checkpoint, path, model, losses, config, data_identity, processes)
    except (KeyError, TypeError, AttributeError) as error:
        raise ResumeError(
            f"{path} has a damaged training state ({error!r}): take another checkpoint, or pass it "
            "as train.pretrained_model_path"
        ) from error


def _continuing(
    checkpoint: Mapping[str, Any],
    path: Path,
    model: ModelConfig,
    losses: LossConfig,
    config: TrainConfig,
    data_identity: Mapping[str, Any],
    processes: int,
) -> Resume:
    metadata = metadata_of(checkpoint, str(path))
    stored, data = stored_config(checkpoint, path), checkpoint["DetectionDataModule"]
    there = model_block(metadata.model_config_, metadata.losses, stored.optim)
    here = model_block(model, losses, config.optim)
    groups = GroupNames.model_fields.keys() if config.resume_optim == "new" else set()
    refuse_differences(path, "model", there, here, _FREE_MODEL_KEYS | groups)
    refuse_differences(path, "dataset", data["identity"], data_identity, _FREE_DATA_KEYS)
    code_there, code_here = (
        {"transform": each.get("transform")} for each in (data["identity"], data_identity)
    )
    refuse_differences(path, "dataset", code_there, code_here, advice=_SAME_TRANSFORM)
    refuse_differences(path, "train", shaping_options(stored), shaping_options(config))
    if config.batch_size == "auto":
        data_identity = {**data_identity, "batch_size": data["identity"]["batch_size"]}
    tensors = tensors_of(checkpoint)
    refuse_non_finite(tensors, str(path))
    patience = Patience.of(checkpoint, stored, config)
    notices = [
        *changed_options(stored, config),
        batch_notice(data, data_identity["batch_size"], processes, (stored, config)),
        patience.notice,
    ]
    return Resume(
        path=path,
        epochs_done=epochs_done(checkpoint, path),
        epochs_trained=epochs_trained(checkpoint),
        steps_done=checkpoint["global_step"],
        batch_size=data_identity["batch_size"],
        metrics=dict(metadata.metrics),
        notices=tuple(filter(None, notices)),
        parts=checkpoint["hyper_parameters"].get("parts", {}),  # older runs were all stock
        tensors={name: value.to("meta") for name, value in tensors.items()},
        state_shapes=state_shapes(checkpoint, path),
        stored=stored,
        config=continued_config(stored, config),
        model=model.model_copy(
            update={"pretrained_backbone_path": metadata.model_config_.pretrained_backbone_path}
        ),
        unread=tuple(unread_files(config, stored, model, metadata.model_config_)),
        patience=patience,
    )


def _counters(tensors: Iterable[str]) -> set[str]:
    """Name the counters of steps, which only live batch norms have."""
    return {name for name in tensors if name.endswith(COUNTER)}


def _is_below(name: str, modules: Iterable[str]) -> bool:
    return any(name.startswith(f"{each}.") for each in modules)


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
