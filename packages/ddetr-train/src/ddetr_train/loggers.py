"""Where a run's figures go beside its observers: TensorBoard, and MLflow and W&B as extras.

All of it stays in the results folder; nothing is sent anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from ddetr_train.config import LoggerName, TrainConfig

_NAME = "ddetr"
# Both libraries report their use to their makers unless these are set.
_SILENCE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "DO_NOT_TRACK": "1",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_ERROR_REPORTING": "false",
}


def build_loggers(config: TrainConfig, results_dir: Path, steps_done: int = 0) -> list[Logger]:
    """Make the loggers of train.loggers, each in its folder of results_dir.

    Args:
        steps_done: by the checkpoint that the run continues from; what a killed run has told
            TensorBoard of later steps is hidden, for they come again.

    Raises:
        ValueError: a logger's library is not installed; the text says how to install it.
    """
    os.environ.update(_SILENCE)
    makers = _MAKERS | {"tensorboard": partial(_tensorboard, steps_done=steps_done)}
    return [_built(name, makers[name], results_dir) for name in config.loggers]


def _built(name: LoggerName, make: Callable[[Path], Logger], results_dir: Path) -> Logger:
    try:
        return make(results_dir)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"train.loggers {name} needs a library that is not installed: "
            f"pip install 'ddetr-train[{name}]'"
        ) from error


def _tensorboard(results_dir: Path, steps_done: int = 0) -> Logger:
    after: dict[str, Any] = {"purge_step": steps_done + 1} if steps_done else {}
    return TensorBoardLogger(results_dir, name="tensorboard", version="", **after)


def _mlflow(results_dir: Path) -> Logger:
    folder = results_dir.absolute() / "mlflow"
    return MLFlowLogger(experiment_name=_NAME, tracking_uri=folder.as_uri())


def _wandb(results_dir: Path) -> Logger:
    results_dir.mkdir(parents=True, exist_ok=True)
    return WandbLogger(project=_NAME, save_dir=results_dir, offline=True, log_model=False)


_MAKERS: dict[LoggerName, Callable[[Path], Logger]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
