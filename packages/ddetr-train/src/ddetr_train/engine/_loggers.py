"""Where a run's figures go beside its observers: TensorBoard, MLflow and W&B, each an extra.

All of it stays in the results folder; nothing is sent anywhere. A training that goes on goes on in
its loggers' runs too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from ddetr_data import InstallHint, check_installed
from ddetr_train.config import LoggerName, TrainConfig

_NAME = "ddetr"
# Both libraries report their use to their makers unless told not to. W&B would also keep the
# command line, which may hold a key, and stand between the program and its console.
_SILENCE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "DO_NOT_TRACK": "1",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_CONSOLE": "off",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_X_DISABLE_META": "true",
    "WANDB__DISABLE_META": "true",  # its name before 0.19
}


def build_loggers(config: TrainConfig, results_dir: Path, steps_done: int = 0) -> list[Logger]:
    """Make the loggers of train.loggers, each in its folder of results_dir.

    Args:
        steps_done: by the checkpoint that the run continues from; what a killed run has told
            TensorBoard of later steps is hidden, for they come again.
    """
    os.environ.update(_SILENCE)
    left_out = _left_out(config)
    return [
        _MAKERS[name](results_dir, steps_done) for name in config.loggers if name not in left_out
    ]


def check_loggers(config: TrainConfig) -> tuple[str, ...]:
    """Look whether the libraries of train.loggers are there, and load none.

    Returns:
        A notice for each logger that nobody has asked for and that is left out, since its library
        is not installed.

    Raises:
        MissingExtraError: the library of one that is asked for is not installed.
    """
    left_out = _left_out(config)
    for name in config.loggers:
        if name not in left_out:
            need = f"train.loggers {name} needs a library that is not installed"
            check_installed(name, need, _hint(name))
    return tuple(f"no {name} log is written; for one: {_hint(name)}" for name in left_out)


def _left_out(config: TrainConfig) -> tuple[LoggerName, ...]:
    """Loggers of the default, in a configuration that names none, whose library is absent."""
    if "loggers" in config.model_fields_set:
        return ()
    return tuple(name for name in config.loggers if find_spec(name) is None)


def _hint(name: LoggerName) -> InstallHint:
    return InstallHint(name, "ddetr-train")  # library, logger and extra have one name


def _tensorboard(results_dir: Path, steps_done: int) -> Logger:
    purge_step = steps_done + 1 if steps_done else 0  # what a run without a checkpoint told goes
    return TensorBoardLogger(results_dir, name="tensorboard", version="", purge_step=purge_step)


def _mlflow(results_dir: Path, steps_done: int) -> Logger:
    folder = results_dir.absolute() / "mlflow"
    logger = MLFlowLogger(experiment_name=_NAME, tracking_uri=folder.as_uri())
    if not steps_done:
        return logger
    client = logger._mlflow_client  # logger.experiment would begin a new run
    experiment = client.get_experiment_by_name(_NAME)
    runs = client.search_runs([experiment.experiment_id], max_results=1) if experiment else []
    run_id = runs[0].info.run_id if runs else None  # the latest comes first
    return MLFlowLogger(experiment_name=_NAME, tracking_uri=folder.as_uri(), run_id=run_id)


class _OfflineWandbLogger(WandbLogger):
    """Lightning's, which leaves the run open: what W&B has not yet written would be lost."""

    def __init__(self, results_dir: Path, run_id: str | None) -> None:
        super().__init__(
            project=_NAME, save_dir=results_dir, id=run_id, offline=True, log_model=False
        )
        self._wandb_init.pop("anonymous", None)  # always passed, and W&B warns that it is old

    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)


def _wandb(results_dir: Path, steps_done: int) -> Logger:
    results_dir.mkdir(parents=True, exist_ok=True)
    folder = results_dir / "wandb"
    os.environ["WANDB_CACHE_DIR"] = str(folder / "cache")
    earlier = sorted(folder.glob("offline-run-*-*")) if steps_done else []
    return _OfflineWandbLogger(results_dir, earlier[-1].name.split("-")[-1] if earlier else None)


_MAKERS: dict[LoggerName, Callable[[Path, int], Logger]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
