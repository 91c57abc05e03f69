"""Train a detector: first all that can refuse the run, then the run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from ddetr_data import Category, DatasetConfig, as_categories, compare_categories
from ddetr_data.detection import Observer, RunEvent, emit
from ddetr_data.files import model_source
from ddetr_model import (
    DeformableDETR,
    LossConfig,
    ModelConfig,
    SetCriterion,
    freeze_modules,
    load_pretrained,
)
from ddetr_train.checkpoints import (
    AtomicCheckpointIO,
    Resume,
    find_resume_path,
    overtaken_notice,
    read_resume,
)
from ddetr_train.config import TrainConfig
from ddetr_train.data import DetectionDataModule
from ddetr_train.engine._loggers import check_loggers
from ddetr_train.engine.prepared import PreparedTraining, TrainResult
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
) -> PreparedTraining:
    """Find out all that can refuse the run, and write nothing, not even the results folder.

    Who wants no other training to write there before it runs holds the folder by `folder_locked`.
    The arguments are those of train.

    Raises:
        FileNotFoundError, ValueError: as train, before its first step.
    """
    began = time.monotonic()
    observers = observers if is_first_process(by_hand=True) else ()
    files = AtomicCheckpointIO(encryption_key)
    model_config, losses = _configs(model, losses)
    criterion = criterion or SetCriterion(losses)
    with quiet_lightning():
        devices = choose_run_devices(config, observers)
        notice = check_options(config, dataset, devices, is_encrypted=encryption_key is not None)
        _tell(observers, *([notice] if notice else []))
        check_loggers(config)
        dataset = with_batch_size(dataset, config)
        data = DetectionDataModule(dataset, seed=config.seed, num_classes=model_config.num_classes)
        processes = devices.count * config.num_nodes
        resume = _find_resume(model_config, losses, config, data, results_dir, files, processes)
        run = PreparedTraining(config, devices, data, files, results_dir, observers, resume, began)
        if resume is not None:
            _tell(observers, *resume.notices)
            if run.is_done:
                return run
            data.batch_size = resume.batch_size
        seed_run(config.seed)
        network = _build_network(model, losses, config, observers, encryption_key, resume is None)
        if resume is not None:
            resume.prepare(network, criterion)
        _freeze(network, config, observers)
        _tell(observers, *_other_classes(network, data))
        if resume is None:
            choose_batch_size(network, config, data, devices, observers)
        _tell_plan(network, config, data, devices, results_dir, observers)
        if config.compile:
            network.compile()
        guard = NanGuard(results_dir, files, data.train_set)
        module = _build_module(network, config, data, guard, criterion)
        if resume is not None:
            resume.check_optimizer(module.build_optimizer())
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
    config: TrainConfig,
    data: DetectionDataModule,
    results_dir: Path,
    files: AtomicCheckpointIO,
    processes: int,
) -> Resume | None:
    path = find_resume_path(config, results_dir)
    if path is None or config.is_dry_run:
        return None
    resume = read_resume(path, model, losses, config, data.identity(), files, processes)
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


def _build_network(
    model: ModelConfig | DeformableDETR,
    losses: LossConfig,
    config: TrainConfig,
    observers: Sequence[Observer],
    encryption_key: str | None,
    is_fresh: bool,
) -> DeformableDETR:
    if isinstance(model, DeformableDETR):
        network = model.train()
    else:
        network = DeformableDETR(model, losses=losses, load_backbone_file=is_fresh)
    if network.backbone_report is not None:
        name = f"backbone file {network.config.pretrained_backbone_path}"
        _tell(observers, network.backbone_report.describe(name))
    network.set_activation_checkpointing(config.activation_checkpoint)
    if is_fresh and config.pretrained_model_path is not None:
        path = config.pretrained_model_path
        with model_source(path, encryption_key) as source:
            _tell(observers, load_pretrained(network, source).describe(str(path)))
    return network


def _other_classes(network: DeformableDETR, data: DetectionDataModule) -> list[str]:
    """Say where the training data's class ids mean others in what is scored, or was trained."""
    tables: dict[str, Sequence[Category]] = {}
    if data.val_set is not None:
        tables["the validation data"] = data.val_set.categories
    if network.metadata is not None:
        tables["the pretrained model"] = as_categories(network.metadata.categories)
    differences = [
        compare_categories(
            data.train_set.categories, table, first_name="the training data", second_name=owner
        )
        for owner, table in tables.items()
    ]
    return [text for text in differences if text]


def _freeze(network: DeformableDETR, config: TrainConfig, observers: Sequence[Observer]) -> None:
    if config.freeze:
        frozen = freeze_modules(network, config.freeze)
        _tell(observers, f"{len(frozen)} tensors of {', '.join(config.freeze)} do not train")


def _build_module(
    network: DeformableDETR,
    config: TrainConfig,
    data: DetectionDataModule,
    guard: NanGuard,
    criterion: SetCriterion,
) -> DetectionModule:
    kind = ShardedDetectionModule if config.distributed_strategy == "fsdp" else DetectionModule
    return kind(
        network,
        config,
        categories=data.train_set.categories,
        preprocess=data.preprocess.model_dump(mode="json"),
        guard=guard,
        criterion=criterion,
    )


def _tell(observers: Sequence[Observer], *notices: str) -> None:
    for text in notices:
        emit(observers, RunEvent("notice", text))
