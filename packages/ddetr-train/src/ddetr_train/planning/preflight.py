"""What is found out before the first step: devices, options that clash, memory and disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ddetr_data import DatasetConfig
from ddetr_data.detection import Observer, RunEvent, emit
from ddetr_data.torch import OwnTransform, function_name
from ddetr_model import DeformableDETR, LossConfig, ModelConfig, freeze_modules
from ddetr_train.checkpoints import find_resume_path
from ddetr_train.config import TrainConfig
from ddetr_train.data import DetectionDataModule
from ddetr_train.planning.loading import batch_bytes, files_of, fit_loading, present_room
from ddetr_train.planning.memory import (
    estimate_step_bytes,
    free_gpu_bytes,
    largest_batch_size,
    machine_bytes,
    measure_step_bytes,
    peak_process_bytes,
    worst_batch,
)
from ddetr_train.planning.plan import Plan, check_disk, check_memory, plan_run
from ddetr_train.process import (
    Devices,
    check_launch,
    choose_devices,
    current_launch,
    quiet_lightning,
)


@dataclass(frozen=True)
class Setup:
    """What a run works with, and who is told of it."""

    config: TrainConfig
    data: DetectionDataModule
    devices: Devices
    observers: Sequence[Observer]

    @property
    def processes(self) -> int:
        """Processes of all machines together."""
        return self.devices.count * self.config.num_nodes

    def going_on_with(self, config: TrainConfig) -> Setup:
        """Give the same run with the options of the checkpoint that it continues.

        Raises:
            ValueError: they do not go with the data.
        """
        _check_watched(config, has_validation=self.data.val_set is not None)
        return replace(self, config=config)

    def tell(self, *notices: str, is_warning: bool = False) -> None:
        """Send notices to the observers, as warnings where something should be changed."""
        for text in notices:
            emit(self.observers, RunEvent("notice", text, is_warning=is_warning))


def open_setup(
    dataset: DatasetConfig,
    config: TrainConfig,
    num_classes: int,
    observers: Sequence[Observer],
    *,
    is_encrypted: bool = False,
    transform: OwnTransform | None = None,
) -> Setup:
    """Choose devices, refuse options that do not go together, and read the labels.

    A number in train.batch_size wins over dataset.batch_size.

    Raises:
        FileNotFoundError, ValueError: as `train`, before its first step.
    """
    config = config.model_copy(update={"optim": config.optim.spanning(config.num_epochs)})
    devices = _choose_devices(config)
    _check_sync(config, devices)
    _check_options(config, dataset, is_encrypted=is_encrypted)
    notices = [devices.notice, _sampler_notice(dataset)]
    if config.precision == "fp16" and devices.accelerator == "cpu":
        config = config.model_copy(update={"precision": "bf16"})
        notices.append("CPUs have no fp16 training: precision is bf16 here.")
    for text in filter(None, notices):
        emit(observers, RunEvent("notice", text))
    if isinstance(config.batch_size, int):
        dataset = dataset.model_copy(update={"batch_size": config.batch_size})
    data = DetectionDataModule(
        dataset, seed=config.seed, num_classes=num_classes, transform=transform
    )
    if data.repeats is not None:
        emit(observers, RunEvent("notice", data.repeats.sentence()))
    if transform is not None:
        text = f"code of one's own, {function_name(transform)}, changes each training image"
        emit(observers, RunEvent("notice", text))
    return Setup(config, data, devices, observers)


def _sampler_notice(dataset: DatasetConfig) -> str | None:
    """Say that a sampler was asked for and does nothing, as TAO's documentation has it."""
    if dataset.train_sampler == dataset.sampler_in_effect:
        return None
    return (
        f"dataset.train_sampler {dataset.train_sampler} has no effect with dataset.dataset_type "
        f"{dataset.dataset_type}; set dataset.dataset_type=default for it"
    )


def choose_batch_size(network: DeformableDETR, setup: Setup) -> None:
    """Give the data the largest batch size that the GPU holds, where train.batch_size is auto.

    A run that goes on has the size that it had.

    Raises:
        ValueError: there are several processes, or not even one image fits.
    """
    data = setup.data
    if setup.config.batch_size != "auto":
        return
    if setup.devices.accelerator == "cpu":
        setup.tell(f"train.batch_size auto measures GPUs; on the CPU it is {data.batch_size}")
        return
    if setup.processes > 1:
        raise ValueError(
            "train.batch_size auto works with one GPU: run `ddetr plan` with num_gpus 1 and set "
            "train.batch_size to what it finds"
        )
    free = free_gpu_bytes(_own_device(setup.devices))

    def fits(batch_size: int) -> bool:
        step_bytes = _measured_bytes(network, setup, batch_size)
        return step_bytes is not None and step_bytes <= free

    data.batch_size = largest_batch_size(fits, limit=len(data.train_set.images))
    setup.tell(f"train.batch_size auto found {data.batch_size}")


def choose_workers(setup: Setup) -> None:
    """Give the data as many workers as shared memory and open files have room for; tell if less."""
    data = setup.data
    loaders = 1 if data.val_set is None else 2
    wanted = files_of(data.workers, data.batches_ahead, loaders)
    room = present_room(processes=setup.devices.count, files_wanted=wanted)
    size = batch_bytes(data.batch_size, data.worst_size_hw())
    loading = fit_loading(data.workers, data.batches_ahead, size, room, loaders=loaders)
    data.workers, data.batches_ahead = loading.workers, loading.batches_ahead
    if loading.notice:
        setup.tell(loading.notice)


def make_plan(network: DeformableDETR, setup: Setup) -> Plan:
    """Count steps, memory and disk; a GPU is measured with the largest batch.

    On the CPU the libraries and labels that this process holds by now are part of the memory.

    Raises:
        PlanError: that batch does not fit into memory.
    """
    config, data = setup.config, setup.data
    plan = plan_run(
        config,
        batches_per_epoch=data.batches_per_epoch(setup.processes),
        num_values=sum(value.numel() for value in network.state_dict().values()),
        num_trained=sum(p.numel() for p in network.parameters() if p.requires_grad),
    )
    size_hw = data.worst_size_hw()
    step_bytes = estimate_step_bytes(network, config, data.batch_size, size_hw)
    plan = replace(plan, batch_size=data.batch_size, batch_size_hw=size_hw, step_bytes=step_bytes)
    if setup.devices.accelerator == "cpu":
        plan = replace(plan, step_bytes=step_bytes + peak_process_bytes())
        check_memory(plan, machine_bytes(), "this machine")
    elif config.distributed_strategy == "ddp":  # a split model need not fit into one GPU
        return _measured(plan, network, setup)
    return plan


def plan_training(
    model: ModelConfig,
    dataset: DatasetConfig,
    config: TrainConfig,
    results_dir: Path,
    observers: Sequence[Observer] = (),
    *,
    losses: LossConfig | None = None,
) -> Plan:
    """Say what `train` would take, without training; the network has random weights.

    Raises:
        FileNotFoundError, ValueError: as `train`, before its first step.
        PlanError: memory or disk are too small.
    """
    with quiet_lightning():
        setup = open_setup(dataset, config, model.num_classes, observers)
        network = DeformableDETR(model, losses=losses, load_backbone_file=False)
        network.set_activation_checkpointing(config.activation_checkpoint)
        freeze_modules(network, config.freeze)
        choose_batch_size(network, setup)
        choose_workers(setup)
        plan = make_plan(network, setup)
    is_continued = find_resume_path(config, results_dir) is not None
    check_disk(plan, results_dir, is_continued=is_continued)
    return plan


def _choose_devices(config: TrainConfig) -> Devices:
    """Apply the rule of num_gpus, gpu_ids and accelerator."""
    launch = current_launch(by_hand=True)
    devices = choose_devices(
        config.num_gpus,
        config.gpu_ids,
        gpus_present=torch.cuda.device_count(),
        accelerator=config.accelerator,
        cpu_processes=launch.local_world_size,
    )
    check_launch(launch, devices, config.num_nodes)
    return devices


def _check_sync(config: TrainConfig, devices: Devices) -> None:
    """Refuse what PyTorch would refuse in the first step."""
    is_cpu = devices.accelerator == "cpu"
    if config.sync_batchnorm and is_cpu and devices.count * config.num_nodes > 1:
        raise ValueError(
            "train.sync_batchnorm needs GPUs, and these processes run on CPUs, where PyTorch has "
            "no SyncBatchNorm: set it to false"
        )


def _check_options(config: TrainConfig, dataset: DatasetConfig, *, is_encrypted: bool) -> None:
    """Refuse options that do not go together, by both names."""
    if config.distributed_strategy == "fsdp" and is_encrypted:
        raise ValueError("encryption_key does not go with distributed_strategy fsdp: use ddp")
    if config.distributed_strategy == "fsdp" and config.ema_decay is not None:
        raise ValueError("train.ema_decay does not go with distributed_strategy fsdp: use ddp")
    _check_watched(config, has_validation=bool(dataset.val_data_sources))


def _check_watched(config: TrainConfig, *, has_validation: bool) -> None:
    """Refuse options that watch a validation where there is none."""
    if has_validation:
        return
    if config.early_stopping_patience is not None:
        raise ValueError("train.early_stopping_patience needs dataset.val_data_sources to watch")
    if config.optim.lr_scheduler == "AutoReduce" and config.optim.lr_monitor == "val_loss":
        raise ValueError(
            "train.optim.lr_monitor val_loss needs dataset.val_data_sources: give them, or "
            "set it to train_loss"
        )


def _measured(plan: Plan, network: DeformableDETR, setup: Setup) -> Plan:
    device = _own_device(setup.devices)
    free = free_gpu_bytes(device)
    step_bytes = _measured_bytes(network, setup, plan.batch_size)
    if step_bytes is None:
        plan = replace(plan, step_bytes=max(plan.step_bytes, free + 1))
    else:
        plan = replace(plan, step_bytes=step_bytes, is_measured=True)
    check_memory(plan, free, f"{torch.cuda.get_device_name(device)} ({device})")
    return plan


def _measured_bytes(network: DeformableDETR, setup: Setup, batch_size: int) -> int | None:
    """Measure a step with the largest batch of so many images; None where it does not fit."""
    data = setup.data
    batch = worst_batch(batch_size, data.worst_size_hw(), data.train_set, data.num_classes)
    try:
        return measure_step_bytes(network, setup.config, batch, _own_device(setup.devices))
    except torch.cuda.OutOfMemoryError:
        return None


def _own_device(devices: Devices) -> torch.device:
    """Choose the GPU of this process, by the number that launchers give it."""
    local_rank = current_launch(by_hand=True).local_rank
    return torch.device(devices.names[local_rank % devices.count])
