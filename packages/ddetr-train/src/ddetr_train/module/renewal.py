"""Another optimiser, or another schedule, for a run that goes on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ddetr_train.config import OptimizerConfig, TrainConfig
from ddetr_train.module.optimizer import (
    build_schedule,
    build_warmup,
    parameter_groups,
    warmup_factor,
)


def renew_optimizer(
    checkpoint: dict[str, Any],
    optimizer: Optimizer,
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    stored: TrainConfig,
    config: TrainConfig,
    epochs: int,
) -> None:
    """Put the state of a new optimiser and its schedules into a checkpoint.

    Its schedules stand where they would after so many epochs and the checkpoint's updates. Moments
    stay with their parameters where the update rule is the same. AutoReduce, which follows what a
    validation found, keeps the reductions that it has made.

    Args:
        checkpoint: is changed.
        optimizer: built by config, unused; its rates are changed.
        named_parameters: of the model.
        stored: what the run had so far.
        config: what it has from here on.
        epochs: that are trained.
    """
    named = list(named_parameters)
    (saved,) = checkpoint["optimizer_states"]
    names, new_names = (_names(named, each.optim) for each in (stored, config))
    keys = [key for group in saved["param_groups"] for key in group["params"]]
    key_of = dict(zip(names, keys, strict=True))
    schedules = _advanced(checkpoint, optimizer, stored, config, epochs)
    fresh = optimizer.state_dict()
    # FSDP names parameters where one process numbers them.
    new_keys = (
        [key_of[name] for name in new_names] if isinstance(keys[0], str) else [*range(len(keys))]
    )
    state = {}
    if stored.optim.optimizer == config.optim.optimizer:
        state = {
            key: saved["state"][key_of[name]]
            for name, key in zip(new_names, new_keys, strict=True)
            if key_of[name] in saved["state"]
        }
    rest = iter(new_keys)
    groups = [
        {**group, "params": [next(rest) for _ in group["params"]]}
        for group in fresh["param_groups"]
    ]
    checkpoint["optimizer_states"] = [{"state": state, "param_groups": groups}]
    checkpoint["lr_schedulers"] = [each.state_dict() for each in schedules]


def _names(named: list[tuple[str, nn.Parameter]], optim: OptimizerConfig) -> list[str]:
    """Name the parameters in the order of their groups."""
    name_of = {parameter: name for name, parameter in named}
    return [name_of[each] for group in parameter_groups(named, optim) for each in group["params"]]


def _advanced(
    checkpoint: Mapping[str, Any],
    optimizer: Optimizer,
    stored: TrainConfig,
    config: TrainConfig,
    epochs: int,
) -> list[LRScheduler]:
    """Build the schedules and bring them, and the rates, to where they stand by now."""
    updates = int(checkpoint["global_step"])
    schedule = build_schedule(optimizer, config.optim)
    schedules = [schedule]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch expects an update before
        if not isinstance(schedule, ReduceLROnPlateau):
            for _ in range(epochs):
                schedule.step()
        if config.warmup_steps:
            warmup = build_warmup(optimizer, config.warmup_steps)
            for _ in range(min(updates, config.warmup_steps)):
                warmup.step()
            warmup.last_epoch = updates
            schedules.append(warmup)
    if isinstance(schedule, ReduceLROnPlateau) and stored.optim.lr_scheduler == "AutoReduce":
        _keep_reductions(checkpoint, optimizer, schedule, stored, config)
    return schedules


def _keep_reductions(
    checkpoint: Mapping[str, Any],
    optimizer: Optimizer,
    schedule: ReduceLROnPlateau,
    stored: TrainConfig,
    config: TrainConfig,
) -> None:
    """Count the reductions that were made, make as many, and watch on."""
    rates = {"base": stored.optim.lr, "backbone": stored.optim.lr_backbone}
    rates["linear_proj"] = stored.optim.lr * stored.optim.lr_linear_proj_mult
    groups = checkpoint["optimizer_states"][0]["param_groups"]
    group = next((each for each in groups if rates[each["name"]] > 0), None)
    factor = warmup_factor(stored.warmup_steps, int(checkpoint["global_step"]))
    made = 0
    if group is not None and stored.optim.lr_decay < 1:
        left = group["lr"] / (rates[group["name"]] * factor)
        made = round(math.log(left) / math.log(stored.optim.lr_decay))
    for group in optimizer.param_groups:
        group["lr"] *= config.optim.lr_decay**made
    if stored.optim.lr_monitor == config.optim.lr_monitor:
        seen = checkpoint["lr_schedulers"][0]
        kept = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")
        schedule.load_state_dict({key: seen[key] for key in kept})
