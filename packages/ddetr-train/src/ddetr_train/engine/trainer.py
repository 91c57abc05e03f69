"""Train a detector: first all that can refuse the run, then the run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from ddetr_data import DatasetConfig
from ddetr_data.detection import Observer, limit_notices, raised_num_select
from ddetr_data.loading import TrainingLimits, training_notices
from ddetr_data.torch import OwnTransform
from ddetr_model import (
    DeformableDETR,
    LossConfig,
    ModelConfig,
    SetCriterion,
    use_fast_layers,
)
from ddetr_train.checkpoints import (
    AtomicCheckpointIO,
    Resume,
    find_resume_path,
    read_resume,
)
from ddetr_train.config import TrainConfig
from ddetr_train.engine._class_weights import weigh_classes
from ddetr_train.engine._classes import untrained_classes
from ddetr_train.engine._loggers import check_loggers
from ddetr_train.engine._network import build_network
from ddetr_train.engine.prepared import PreparedTraining, TrainResult
from ddetr_train.learning_guard import averaging_notice
from ddetr_train.module import (
    DetectionModule,
    ShardedDetectionModule,
    parameter_groups,
    synchronize_norms,
)
from ddetr_train.nan import NanGuard
from ddetr_train.planning import (
    Setup,
    check_disk,
    choose_batch_size,
    choose_workers,
    make_plan,
    open_setup,
)
from ddetr_train.process import (
    folder_locked,
    is_first_process,
    quiet_lightning,
    seed_run,
)


def train(
    model: ModelConfig | DeformableDETR,
    dataset: DatasetConfig,
    config: TrainConfig,
    results_dir: Path,
    *,
    losses: LossConfig | None = None,
    criterion: SetCriterion | None = None,
    observers: Sequence[Observer] = (),
    encryption_key: str | None = None,
    transform: OwnTransform | None = None,
) -> TrainResult:
    """Train, or continue the run whose state lies in results_dir.

    Args:
        model: the architecture; or a network, which may have parts from outside and is trained in
            place, from the weights that it has unless a run is continued.
        dataset: images and labels.
        config: how to train.
        results_dir: where everything that the run leaves behind lies.
        losses: what an architecture is trained to do; a network was built with its own.
        criterion: losses of one's own; by default the stock ones.
        observers: called with what happens.
        encryption_key: the passphrase of checkpoints; None writes them plain.
        transform: a function of one's own that changes each training image and its objects before
            it is cut and resized (see OwnTransform); its name is kept, and never looked up.

    Raises:
        FileNotFoundError: data or a given checkpoint are not there.
        ValueError: options, data and checkpoint do not fit together; found before the first step.
        NonFiniteError: a loss or a gradient is not finite; names where it arose.
        TrainingPreempted: SIGTERM came; the state is saved.
        OSError: a checkpoint could not be written; the previous one is kept.
        PeerEndedError: another process of the run has ended.
    """
    results_dir = Path(results_dir)
    is_kept = results_dir.is_dir() and not config.is_dry_run
    with folder_locked(results_dir) if is_kept else nullcontext():
        return prepare_training(
            model,
            dataset,
            config,
            results_dir,
            losses=losses,
            criterion=criterion,
            observers=observers,
            encryption_key=encryption_key,
            transform=transform,
        ).run()


def prepare_training(
    model: ModelConfig | DeformableDETR,
    dataset: DatasetConfig,
    config: TrainConfig,
    results_dir: Path,
    *,
    losses: LossConfig | None = None,
    criterion: SetCriterion | None = None,
    observers: Sequence[Observer] = (),
    encryption_key: str | None = None,
    transform: OwnTransform | None = None,
) -> PreparedTraining:
    """Find out all that can refuse the run, and write nothing, not even the results folder.

    Who wants no other training to write there before it runs holds the folder by `folder_locked`.
    The arguments are those of train.

    Raises:
        FileNotFoundError, ValueError: as train, before its first step.
    """
    began, waiting = time.monotonic(), observers
    observers = observers if is_first_process() else ()
    files = AtomicCheckpointIO(encryption_key)
    model_config, losses = _configs(model, losses)
    criterion = criterion or SetCriterion(losses)
    without_log = check_loggers(config)
    with quiet_lightning():
        is_encrypted = encryption_key is not None
        num_classes = model_config.num_classes
        setup = open_setup(
            dataset,
            config,
            num_classes,
            observers,
            is_encrypted=is_encrypted,
            transform=transform,
        )
        resume = _find_resume(model_config, losses, setup, results_dir, files)
        setup.tell(*without_log)
        architecture = model_config if resume is None else resume.model
        run = PreparedTraining(
            setup, files, results_dir, resume, began, architecture, waiting_observers=waiting
        )
        if run.is_done:
            return run
        if resume is not None:
            setup = setup.going_on_with(resume.config)
            setup.data.batch_size = resume.batch_size
            setup.tell(*resume.notices)
        seed_run(config.seed)
        network = build_network(model, losses, criterion, setup, resume, encryption_key)
        setup.tell(*weigh_classes(criterion, losses, setup))
        setup.tell(*untrained_classes(setup.data), *_limits(network, setup))
        setup = _planned(network, setup, results_dir, resume)
        if config.sync_batchnorm:
            setup.tell(synchronize_norms(network, setup.processes))
        if config.compile:
            network.compile()
        elif config.distributed_strategy != "fsdp":  # which lays weights out by itself
            use_fast_layers(network, on_cpu=setup.devices.accelerator == "cpu")
        if resume is not None:
            resume.check_optimizer(
                parameter_groups(network.named_parameters(), resume.stored.optim)
            )
        run = replace(run, setup=setup)
        module = _build_module(network, criterion, run)
    return replace(run, module=module)


def _configs(
    model: ModelConfig | DeformableDETR, losses: LossConfig | None
) -> tuple[ModelConfig, LossConfig]:
    if isinstance(model, ModelConfig):
        return model, losses or LossConfig()
    if losses not in (None, model.losses):
        raise ValueError("losses goes with a ModelConfig; a network is built with its own")
    return model.config, model.losses


def _find_resume(
    model: ModelConfig,
    losses: LossConfig,
    setup: Setup,
    results_dir: Path,
    files: AtomicCheckpointIO,
) -> Resume | None:
    config = setup.config
    path = find_resume_path(config, results_dir)
    if path is None or config.is_dry_run:
        return None
    identity = setup.data.identity()
    return read_resume(path, model, losses, config, identity, files, setup.processes)


def _planned(
    network: DeformableDETR, setup: Setup, results_dir: Path, resume: Resume | None
) -> Setup:
    """Choose batch size and workers where they are open, and refuse what does not fit."""
    if resume is None:
        choose_batch_size(network, setup)
    if setup.config.batch_size == "auto":  # the record says what was found
        chosen = {"batch_size": setup.data.batch_size}
        setup = replace(setup, config=setup.config.model_copy(update=chosen))
    choose_workers(setup)
    setup.tell(*_unlearnable(network, setup), is_warning=True)
    if not setup.config.is_dry_run:
        plan = make_plan(network, setup)
        setup.tell(*plan.lines())
        averaging = averaging_notice(setup.config, plan.total_steps)
        setup.tell(*filter(None, [averaging]), is_warning=True)
        check_disk(plan, results_dir, is_continued=resume is not None)
    return setup


def _limits(network: DeformableDETR, setup: Setup) -> list[str]:
    """Say where validation images hold more objects than can be found, or count."""
    if setup.data.val_set is None:
        return []
    limit = setup.config.max_detections
    most = raised_num_select(network.config.num_select, limit)
    return limit_notices(setup.data.val_set, limit, most)


def _unlearnable(network: DeformableDETR, setup: Setup) -> list[str]:
    """Say which labels this training cannot learn."""
    data = setup.data
    limits = TrainingLimits(
        num_classes=data.num_classes,
        num_queries=network.config.num_queries,
        finest_stride=network.config.finest_stride,
        augmentation=data.augmentation,
        images_a_step=data.batch_size * setup.processes,
        eval_class_ids=data.eval_class_ids,
    )
    return training_notices(data.train_set, data.val_set, limits)


def _build_module(
    network: DeformableDETR, criterion: SetCriterion, run: PreparedTraining
) -> DetectionModule:
    config, data = run.setup.config, run.setup.data
    kind = ShardedDetectionModule if config.distributed_strategy == "fsdp" else DetectionModule
    return kind(
        network,
        config,
        criterion,
        NanGuard(run.results_dir, run.files, data.train_set),
        categories=data.train_set.categories,
        preprocess=data.preprocess.model_dump(mode="json"),
    )
