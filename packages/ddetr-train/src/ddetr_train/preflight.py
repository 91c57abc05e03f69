"""What is found out before the first step: devices, options that clash, room on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ddetr_data.config import DatasetConfig
from ddetr_model.detector import DeformableDETR
from ddetr_train.config import TrainConfig
from ddetr_train.datamodule import DetectionDataModule
from ddetr_train.devices import Devices, choose_devices
from ddetr_train.events import Observer, RunEvent, emit
from ddetr_train.plan import check_disk, plan_run


def choose_run_devices(config: TrainConfig, observers: Sequence[Observer]) -> Devices:
    """Apply the rule of num_gpus, gpu_ids and accelerator, and tell when the CPU steps in."""
    devices = choose_devices(
        config.num_gpus,
        config.gpu_ids,
        gpus_present=torch.cuda.device_count(),
        accelerator=config.accelerator,
    )
    if devices.notice:
        emit(observers, RunEvent("notice", devices.notice))
    return devices


def check_options(
    config: TrainConfig, dataset: DatasetConfig, devices: Devices, *, is_encrypted: bool
) -> str | None:
    """Refuse options that do not go together, and return what to tell about the rest.

    Raises:
        ValueError: the text names both options.
    """
    if config.distributed_strategy == "fsdp" and is_encrypted:
        raise ValueError("encryption_key does not go with distributed_strategy fsdp: use ddp")
    if config.distributed_strategy == "fsdp" and config.ema_decay is not None:
        raise ValueError("train.ema_decay does not go with distributed_strategy fsdp: use ddp")
    if not dataset.val_data_sources:
        if config.early_stopping_patience is not None:
            raise ValueError(
                "train.early_stopping_patience needs dataset.val_data_sources to watch"
            )
        if config.optim.lr_scheduler == "AutoReduce" and config.optim.lr_monitor == "val_loss":
            raise ValueError(
                "train.optim.lr_monitor val_loss needs dataset.val_data_sources: give them, or "
                "set it to train_loss"
            )
    if config.precision == "fp16" and devices.accelerator == "cpu":
        return "CPUs have no fp16 training: precision is bf16 here."
    return None


def plan_and_check(
    network: DeformableDETR,
    config: TrainConfig,
    data: DetectionDataModule,
    devices: Devices,
    results_dir: Path,
    observers: Sequence[Observer],
) -> None:
    """Tell what the run will take, and refuse it when its checkpoints have no room.

    Raises:
        OSError: the disk is too small.
    """
    if config.is_dry_run:
        return
    plan = plan_run(
        config,
        batches_per_epoch=data.batches_per_epoch(devices.count * config.num_nodes),
        num_values=sum(value.numel() for value in network.state_dict().values()),
        num_trained=sum(p.numel() for p in network.parameters() if p.requires_grad),
    )
    check_disk(plan, results_dir)
    emit(observers, RunEvent("notice", str(plan)))
