"""The recipes that bench_recipes.py compares: keys of a spec, in words of what they change."""

from __future__ import annotations

from typing import Any, TypeAlias

Recipe: TypeAlias = dict[str, Any]  # keys of a spec and their values

_BEFORE: Recipe = {  # what `ddetr demo` did when the comparison began
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
_WINNERS: Recipe = {
    "model.backbone": "timm:resnet10t",
    "model.two_stage": True,
    "model.denoising_groups": 5,
    "train.optim.lr_scheduler": "Cosine",
    "train.ema_decay": 0.99,
}
_BEST: Recipe = _BEFORE | _WINNERS | {"dataset.batch_size": 4, "train.warmup_steps": 100}

# Each changes the best in one respect.
_CHANGES: dict[str, Recipe] = {
    "best": {},
    "queries that are learnt (model.two_stage: false)": {"model.two_stage": False},
    "no denoising": {"model.denoising_groups": 0},
    "no mean of weights (train.ema_decay: null)": {"train.ema_decay": None},
    "MultiStep": {"train.optim.lr_scheduler": "MultiStep", "train.optim.lr_steps": [3]},
    "batches of 8": {"dataset.batch_size": 8, "train.warmup_steps": 50},
    "batches of 2": {"dataset.batch_size": 2, "train.warmup_steps": 200},
    "half the rates": {"train.optim.lr": 4e-4, "train.optim.lr_backbone": 4e-4},
    "twice the rates": {"train.optim.lr": 16e-4, "train.optim.lr_backbone": 16e-4},
    "regnetx_002": {"model.backbone": "timm:regnetx_002"},
    "regnetx_002, no denoising": {
        "model.backbone": "timm:regnetx_002",
        "model.denoising_groups": 0,
    },
    "resnet18": {"model.backbone": "timm:resnet18"},
    "test_efficientnet, batch norms": {"model.backbone": "timm:test_efficientnet"},
    "test_efficientnet_gn, group norms": {"model.backbone": "timm:test_efficientnet_gn"},
    "strides 4, 8 and 16": {
        "model.num_feature_levels": 3,
        "model.return_interm_indices": [0, 1, 2],
    },
    "strides 8, 16 and 32": {
        "model.num_feature_levels": 3,
        "model.return_interm_indices": [1, 2, 3],
    },
    "color_jitter: 0.5": {"dataset.augmentation.color_jitter": 0.5},
    "mosaic: 0.5": {"dataset.augmentation.mosaic": 0.5},
    "bf16": {"train.precision": "bf16"},
}

_FRUITS_BEFORE: Recipe = {
    "model.backbone": "timm:regnetx_002",
    "model.two_stage": False,
    "dataset.batch_size": 4,
    "train.num_epochs": 120,
    "train.optim.lr_scheduler": "MultiStep",
    "train.optim.lr_steps": [90],
}
_BLOOD_BEFORE: Recipe = {
    "model.backbone": "timm:regnetx_002",
    "model.two_stage": True,
    "dataset.batch_size": 4,
    "train.num_epochs": 95,
    "train.optim.lr_scheduler": "MultiStep",
    "train.optim.lr_steps": [80],
}

RECIPES: dict[str, dict[str, Recipe]] = {
    # Whole trainings, and of a third of the images as many as there are ideas.
    "demo": {
        "before": _BEFORE,
        "best, 8 epochs": _BEST | {"train.num_epochs": 8},
        "best": _BEST | {"train.num_epochs": 10},
        "best, 12 epochs": _BEST,
    },
    "demo_short": {name: _BEST | {"train.num_epochs": 4} | keys for name, keys in _CHANGES.items()},
    # Scored on the images that it learns by heart; a mean over 10 of its 160 updates.
    "fruits18": {
        "before": _FRUITS_BEFORE,
        "best": _FRUITS_BEFORE | _WINNERS | {"train.num_epochs": 40, "train.ema_decay": 0.9},
    },
    "bccd": {"before": _BLOOD_BEFORE, "best": _BLOOD_BEFORE | _WINNERS},
}
