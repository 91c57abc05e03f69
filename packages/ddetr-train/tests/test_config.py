"""The options' defaults, ranges and rules between fields."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import BaseModel, ValidationError

from ddetr_train.config import OptimizerConfig, TrainConfig

BAD = [
    (TrainConfig, {"num_gpus": 0}, "num_gpus"),
    (TrainConfig, {"gpu_ids": []}, "gpu_ids"),
    (TrainConfig, {"gpu_ids": [1, 1]}, "gpu_ids"),
    (TrainConfig, {"gpu_ids": [-1]}, "gpu_ids"),
    (TrainConfig, {"num_nodes": 0}, "num_nodes"),
    (TrainConfig, {"seed": -1}, "seed"),
    (TrainConfig, {"num_epochs": 0}, "num_epochs"),
    (TrainConfig, {"checkpoint_interval": 0}, "checkpoint_interval"),
    (TrainConfig, {"checkpoint_interval_steps": 0}, "checkpoint_interval_steps"),
    (TrainConfig, {"validation_interval": 0}, "validation_interval"),
    (TrainConfig, {"clip_grad_norm": -0.1}, "clip_grad_norm"),
    (TrainConfig, {"precision": "fp8"}, "precision"),
    (TrainConfig, {"distributed_strategy": "dp"}, "distributed_strategy"),
    (TrainConfig, {"accelerator": "tpu"}, "accelerator"),
    (TrainConfig, {"ema_decay": 1.0}, "ema_decay"),
    (TrainConfig, {"accumulate_grad_batches": 0}, "accumulate_grad_batches"),
    (TrainConfig, {"warmup_steps": -1}, "warmup_steps"),
    (TrainConfig, {"num_epoch": 3}, "num_epoch"),
    (OptimizerConfig, {"optimizer": "Adam"}, "optimizer"),
    (OptimizerConfig, {"lr": 0}, "lr"),
    (OptimizerConfig, {"lr": float("nan")}, "lr"),
    (OptimizerConfig, {"momentum": 1}, "momentum"),
    (OptimizerConfig, {"weight_decay": -1}, "weight_decay"),
    (OptimizerConfig, {"lr_scheduler": "Cosin"}, "lr_scheduler"),
    (OptimizerConfig, {"lr_final_mult": 1.5}, "lr_final_mult"),
    (OptimizerConfig, {"lr_cosine_epochs": 0}, "lr_cosine_epochs"),
    (OptimizerConfig, {"lr_steps": [40, 20]}, "lr_steps"),
    (OptimizerConfig, {"lr_steps": [0]}, "lr_steps"),
    (OptimizerConfig, {"lr_monitor": "val_ap"}, "lr_monitor"),
]


@pytest.mark.parametrize(("model", "values", "named"), BAD, ids=lambda value: str(value)[:40])
def test_a_bad_value_is_refused_by_name(model: type[BaseModel], values, named: str) -> None:
    """Each value out of range, wrong name or broken rule is an error that names the field."""
    with pytest.raises(ValidationError, match=named):
        model.model_validate(values)


def test_the_defaults_are_those_of_the_page() -> None:
    """Defaults that users rely on stay what the documentation says."""
    train, optim = TrainConfig(), TrainConfig().optim
    assert (train.num_gpus, train.gpu_ids, train.seed, train.num_epochs) == (1, (0,), 1234, 10)
    assert (train.clip_grad_norm, train.precision, train.activation_checkpoint) == (
        0.1,
        "fp32",
        True,
    )
    assert (optim.optimizer, optim.lr, optim.lr_backbone) == ("AdamW", 2e-4, 2e-5)
    assert (optim.lr_steps, optim.lr_linear_proj_mult) == ((40,), 0.1)


@pytest.mark.parametrize("model", [TrainConfig, OptimizerConfig])
def test_every_option_is_described(model: type[BaseModel]) -> None:
    """No field of a block is without a sentence."""
    silent = [name for name, value in model.model_fields.items() if not value.description]
    assert [name for name in silent if name != "optim"] == []


def test_importing_the_package_loads_no_torch() -> None:
    """Options cost no heavy import; a missing name is an AttributeError."""
    code = (
        "import sys, ddetr_train, ddetr_train.config;"
        "print({'torch', 'pytorch_lightning'} & set(sys.modules), hasattr(ddetr_train, 'nope'))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set() False"
