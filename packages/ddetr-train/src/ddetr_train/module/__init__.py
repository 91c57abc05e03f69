"""The LightningModule: one step of training, its optimiser and its running means."""

from ddetr_train.module.detection_module import DetectionModule
from ddetr_train.module.fsdp import ShardedDetectionModule
from ddetr_train.module.optimizer import (
    PLATEAU_PATIENCE_EPOCHS,
    build_optimizer,
    build_schedule,
    build_warmup,
    cosine_factor,
    learning_rates,
    parameter_groups,
    warmup_factor,
)
from ddetr_train.module.renewal import renew_optimizer
from ddetr_train.module.sync_norms import synchronize_norms

__all__ = [
    "PLATEAU_PATIENCE_EPOCHS",
    "DetectionModule",
    "ShardedDetectionModule",
    "build_optimizer",
    "build_schedule",
    "build_warmup",
    "cosine_factor",
    "learning_rates",
    "parameter_groups",
    "renew_optimizer",
    "synchronize_norms",
    "warmup_factor",
]
