"""The optimiser with its three learning rates, and how they change over a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    LinearLR,
    LRScheduler,
    MultiplicativeLR,
    MultiStepLR,
    ReduceLROnPlateau,
    StepLR,
)

from ddetr_train.config import OptimizerConfig

# Epochs without a lower value of lr_monitor after which AutoReduce multiplies by lr_decay.
PLATEAU_PATIENCE_EPOCHS = 5


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]], config: OptimizerConfig
) -> list[dict[str, Any]]:
    """Sort the parameters that train into the groups `base`, `backbone` and `linear_proj`.

    A group without parameters is left out.

    Raises:
        ValueError: every parameter is frozen.
    """
    rates = {
        "base": config.lr,
        "backbone": config.lr_backbone,
        "linear_proj": config.lr * config.lr_linear_proj_mult,
    }
    groups: dict[str, list[nn.Parameter]] = {name: [] for name in rates}
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            groups[_group_of(name, config)].append(parameter)
    found = [
        {"params": groups[name], "lr": rate, "name": name}
        for name, rate in rates.items()
        if groups[name]
    ]
    if not found:
        raise ValueError("every parameter is frozen, nothing would train: shorten train.freeze")
    return found


def build_optimizer(
    groups: list[dict[str, Any]], config: OptimizerConfig, *, fused: bool = True
) -> Optimizer:
    """Make AdamW, or SGD, the only one that uses the momentum."""
    if config.optimizer == "SGD":
        return SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay, fused=fused)
    return AdamW(groups, weight_decay=config.weight_decay, fused=fused)


def build_schedule(optimizer: Optimizer, config: OptimizerConfig) -> LRScheduler:
    """Make the schedule that is stepped once an epoch."""
    makers: dict[str, Callable[[], LRScheduler]] = {
        "MultiStep": lambda: MultiStepLR(optimizer, list(config.lr_steps), config.lr_decay),
        "StepLR": lambda: StepLR(optimizer, config.lr_step_size, config.lr_decay),
        "AutoReduce": lambda: ReduceLROnPlateau(
            optimizer, factor=config.lr_decay, patience=PLATEAU_PATIENCE_EPOCHS
        ),
        "Cosine": lambda: _build_cosine(optimizer, config),
    }
    return makers[config.lr_scheduler]()


def cosine_factor(epoch: int, num_epochs: int, final_mult: float) -> float:
    """Give what a cosine multiplies the rates by: 1 in epoch 0, final_mult from the last on.

    Loshchilov and Hutter, SGDR (2017), equation 5, without restarts and by whole epochs.
    """
    if epoch == 0:
        return 1.0
    position = min(epoch / max(num_epochs - 1, 1), 1.0)
    return final_mult + (1 - final_mult) * (1 + math.cos(math.pi * position)) / 2


def build_warmup(optimizer: Optimizer, warmup_steps: int) -> LinearLR:
    """Make the schedule that is stepped once an update and multiplies with the other one.

    Update k of the first W works at (k + 1) / (W + 1) of the rates.
    """
    return LinearLR(optimizer, start_factor=1 / (warmup_steps + 1), total_iters=warmup_steps)


def warmup_factor(warmup_steps: int, updates: int) -> float:
    """Give what the warm-up multiplies the rates by after so many updates."""
    return min(1.0, (updates + 1) / (warmup_steps + 1))


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """Read each group's present rate, as `lr_<group>`."""
    return {f"lr_{group['name']}": float(group["lr"]) for group in optimizer.param_groups}


def _build_cosine(optimizer: Optimizer, config: OptimizerConfig) -> LRScheduler:
    """Multiply by the ratio of two epochs' factors, so that a warm-up may multiply beside it."""
    num_epochs, final_mult = config.lr_cosine_epochs, config.lr_final_mult
    if num_epochs is None:
        raise ValueError("lr_cosine_epochs must be given: OptimizerConfig.spanning fills it")

    def ratio(epoch: int) -> float:
        before = cosine_factor(epoch - 1, num_epochs, final_mult)
        return cosine_factor(epoch, num_epochs, final_mult) / before if before else 0.0

    return MultiplicativeLR(optimizer, ratio)


def _group_of(name: str, config: OptimizerConfig) -> str:
    if any(part in name for part in config.backbone_names):
        return "backbone"
    if any(part in name for part in config.linear_proj_names):
        return "linear_proj"
    return "base"
