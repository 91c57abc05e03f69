"""Train a detector: everything around Lightning's Trainer."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytorch_lightning as pl

from ddetr_data import DatasetConfig
from ddetr_data.detection import Observer, RunEvent, emit
from ddetr_data.files import model_source
from ddetr_model import DeformableDETR, ModelConfig, freeze_modules, load_pretrained
from ddetr_train.callbacks import choose_callbacks
from ddetr_train.checkpoints import (
    BEST_NAME,
    LATEST_NAME,
    AtomicCheckpointIO,
    Resume,
    find_resume_path,
    overtaken_notice,
    read_resume,
)
from ddetr_train.config import TrainConfig
from ddetr_train.data import DetectionDataModule
from ddetr_train.engine._full_disk import folder_named
from ddetr_train.engine._loggers import build_loggers
from ddetr_train.engine._strategy import build_strategy, choose_precision, cluster_environment
from ddetr_train.module import DetectionModule, ShardedDetectionModule
from ddetr_train.nan import NanGuard
from ddetr_train.planning import (
    check_disk,
    check_options,
    choose_batch_size,
    choose_run_devices,
    make_plan,
    with_batch_size,
)
from ddetr_train.process import (
    Devices,
    current_launch,
    folder_locked,
    is_first_process,
    peers_named,
    quiet_lightning,
    seed_run,
)


@dataclass(frozen=True)
class TrainResult:
    """Where a run's files are and how it ended; a path is None where there is no such file."""

    best_checkpoint: Path | None
    latest_checkpoint: Path | None
    metrics: dict[str, float]
    epochs: int
    seconds: float


def train(
    model: ModelConfig,
    dataset: DatasetConfig,
    config: TrainConfig,
    results_dir: Path,
    *,
    observers: Sequence[Observer] = (),
    encryption_key: str | None = None,
) -> TrainResult:
    """Train, or continue the run whose state lies in results_dir.

    Raises:
        FileNotFoundError: data or a given checkpoint are not there.
        ValueError: options, data and checkpoint do not fit together; found before the first step.
        NonFiniteError: a loss or a gradient is not finite; names where it arose.
        TrainingPreempted: SIGTERM came; the state is saved.
        OSError: a checkpoint could not be written; the previous one is kept.
        PeerEndedError: another process of the run has ended.
    """
    began = time.monotonic()
    results_dir = Path(results_dir)
    observers = observers if is_first_process(by_hand=True) else ()
    files = AtomicCheckpointIO(encryption_key)
    lock = nullcontext() if config.is_dry_run else folder_locked(results_dir)
    with quiet_lightning(), lock:
        devices = choose_run_devices(config, observers)
        notice = check_options(config, dataset, devices, is_encrypted=encryption_key is not None)
        _tell(observers, *([notice] if notice else []))
        dataset = with_batch_size(dataset, config)
        data = DetectionDataModule(dataset, seed=config.seed, num_classes=model.num_classes)
        processes = devices.count * config.num_nodes
        resume = _find_resume(model, config, data, results_dir, files, processes)
        if resume is not None:
            _tell(observers, *resume.notices)
            if resume.epochs_done >= config.num_epochs:
                return _already_done(resume, results_dir, observers)
            data.batch_size = resume.batch_size
        seed_run(config.seed)
        network = _build_network(model, config, observers, encryption_key, resume)
        if resume is None:
            choose_batch_size(network, config, data, devices, observers)
        _tell_plan(network, config, data, devices, results_dir, observers)
        if config.compile:
            network.compile()
        module = _build_module(network, config, data, NanGuard(results_dir, files, data.train_set))
        steps_done = resume.steps_done if resume else 0
        trainer = build_trainer(config, devices, results_dir, data, files, observers, steps_done)
        _fit(trainer, module, data, resume)
    result = TrainResult(
        best_checkpoint=_existing(results_dir / BEST_NAME),
        latest_checkpoint=_existing(results_dir / LATEST_NAME),
        metrics=dict(module.metrics),
        epochs=trainer.current_epoch,
        seconds=time.monotonic() - began,
    )
    if trainer.is_global_zero:
        text = f"trained {result.epochs} epochs in {result.seconds:.0f} s"
        emit(observers, RunEvent("finished", text, metrics=result.metrics))
    return result


def build_trainer(
    config: TrainConfig,
    devices: Devices,
    results_dir: Path,
    data: DetectionDataModule,
    files: AtomicCheckpointIO,
    observers: Sequence[Observer],
    steps_done: int = 0,
) -> pl.Trainer:
    """Set up Lightning for the options; a dry run logs and keeps nothing."""
    return pl.Trainer(
        accelerator=devices.accelerator,
        devices=devices.devices,
        num_nodes=config.num_nodes,
        strategy=build_strategy(config, devices),
        precision=choose_precision(config, devices),
        max_epochs=1 if config.is_dry_run else config.num_epochs,
        limit_train_batches=1 if config.is_dry_run else None,
        limit_val_batches=1 if config.is_dry_run else None,
        check_val_every_n_epoch=1 if config.is_dry_run else config.validation_interval,
        accumulate_grad_batches=config.accumulate_grad_batches,
        deterministic=config.deterministic,
        callbacks=choose_callbacks(config, results_dir, data, observers),
        plugins=[files, cluster_environment(current_launch(by_hand=True))],
        logger=False if config.is_dry_run else build_loggers(config, results_dir, steps_done),
        default_root_dir=results_dir,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=not config.is_dry_run,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _find_resume(
    model: ModelConfig,
    config: TrainConfig,
    data: DetectionDataModule,
    results_dir: Path,
    files: AtomicCheckpointIO,
    processes: int,
) -> Resume | None:
    path = find_resume_path(config, results_dir)
    if path is None or config.is_dry_run:
        return None
    resume = read_resume(path, model, config, data.identity(), files, processes)
    overtaken = overtaken_notice(resume, results_dir, files)
    return replace(resume, notices=(*resume.notices, overtaken)) if overtaken else resume


def _tell_plan(
    network: DeformableDETR,
    config: TrainConfig,
    data: DetectionDataModule,
    devices: Devices,
    results_dir: Path,
    observers: Sequence[Observer],
) -> None:
    """Say what the run will take, and refuse it early when that does not fit."""
    if config.is_dry_run:
        return
    plan = make_plan(network, config, data, devices)
    _tell(observers, *plan.lines())
    check_disk(plan, results_dir)


def _already_done(resume: Resume, results_dir: Path, observers: Sequence[Observer]) -> TrainResult:
    text = (
        f"{resume.path} has all {resume.epochs_done} epochs, nothing is left to train: raise "
        "train.num_epochs to go on"
    )
    _tell(observers, text)
    emit(observers, RunEvent("finished", text, metrics=resume.metrics))
    return TrainResult(
        best_checkpoint=_existing(results_dir / BEST_NAME),
        latest_checkpoint=resume.path,
        metrics=resume.metrics,
        epochs=resume.epochs_done,
        seconds=0.0,
    )


def _build_network(
    model_config: ModelConfig,
    config: TrainConfig,
    observers: Sequence[Observer],
    encryption_key: str | None,
    resume: Resume | None,
) -> DeformableDETR:
    network = DeformableDETR(model_config, load_backbone_file=resume is None)
    if network.backbone_report is not None:
        name = f"backbone file {model_config.backbone_weights}"
        _tell(observers, network.backbone_report.describe(name))
    network.set_activation_checkpointing(config.activation_checkpoint)
    if resume is not None:
        resume.prepare(network)
    elif config.pretrained_model_path is not None:
        path = config.pretrained_model_path
        with model_source(path, encryption_key) as source:
            _tell(observers, load_pretrained(network, source).describe(str(path)))
    if config.freeze:
        frozen = freeze_modules(network, config.freeze)
        _tell(observers, f"{len(frozen)} tensors of {', '.join(config.freeze)} do not train")
    return network


def _build_module(
    network: DeformableDETR, config: TrainConfig, data: DetectionDataModule, guard: NanGuard
) -> DetectionModule:
    kind = ShardedDetectionModule if config.distributed_strategy == "fsdp" else DetectionModule
    return kind(
        network,
        config,
        categories=data.train_set.categories,
        preprocess=data.preprocess.model_dump(mode="json"),
        guard=guard,
    )


def _fit(
    trainer: pl.Trainer, module: DetectionModule, data: DetectionDataModule, resume: Resume | None
) -> None:
    """Run Lightning; Ctrl+C stays a KeyboardInterrupt, where Lightning would exit the process."""
    on_interrupt = signal.getsignal(signal.SIGINT)
    path = resume.path if resume else None
    try:
        with peers_named(trainer.world_size), folder_named(Path(trainer.default_root_dir)):
            trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
    except SystemExit:
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from None


def _tell(observers: Sequence[Observer], *notices: str) -> None:
    for text in notices:
        emit(observers, RunEvent("notice", text))


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
