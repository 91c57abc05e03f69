"""The recipes that bench_recipes.py compares: keys of a spec, in words of what they change."""

from __future__ import annotations

from typing import Any, TypeAlias

Recipe: TypeAlias = dict[str, Any]  # keys of a spec and their values

_DEMO: Recipe = {  # what `ddetr demo` did when the comparison began
    "model.backbone": "timm:regnetx_002",
    "model.two_stage": False,
    "model.num_queries": 30,
    "model.cls_loss_coef": 4.0,
    "dataset.batch_size": 8,
    "train.num_epochs": 12,
    "train.validation_interval": 2,
    "train.optim.lr": 8e-4,
    "train.optim.lr_backbone": 8e-4,
    "train.optim.lr_scheduler": "MultiStep",
    "train.optim.lr_steps": [10],
    "train.warmup_steps": 50,
}
_COSINE: Recipe = {"train.optim.lr_scheduler": "Cosine"}

_DEMO_RECIPES: dict[str, Recipe] = {
    "before": {},
    "two_stage": {"model.two_stage": True},
    "denoising": {"model.denoising_groups": 5},
    "cosine": _COSINE,
    "ema": {"train.ema_decay": 0.99},
    "batch_4": {"dataset.batch_size": 4, "train.warmup_steps": 100},
    "lr_half": {"train.optim.lr": 4e-4, "train.optim.lr_backbone": 4e-4},
    "lr_double": {"train.optim.lr": 16e-4, "train.optim.lr_backbone": 16e-4},
    "resnet18": {"model.backbone": "timm:resnet18"},
    "bf16": {"train.precision": "bf16"},
}

RECIPES: dict[str, dict[str, Recipe]] = {
    "demo": {name: _DEMO | keys for name, keys in _DEMO_RECIPES.items()},
}
