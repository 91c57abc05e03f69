"""What a checkpoint says is brought to how the run goes on: its optimiser, its batches."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, Trainer
from typing_extensions import override

from ddetr_train.checkpoints import Resume, epochs_trained
from ddetr_train.data import DetectionDataModule
from ddetr_train.module import renew_optimizer


class Resuming(Callback):
    """Changes a checkpoint between its file and Lightning, which takes it as it is."""

    def __init__(self, resume: Resume, data: DetectionDataModule) -> None:
        self._resume = resume
        self._data = data

    @override
    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Count batches of this run's size, and make the optimiser that it goes on with."""
        self._count_batches(trainer, checkpoint)
        optimizer = pl_module.build_optimizer()
        # Whether its steps are fused follows from this run's precision and strategy.
        for group in checkpoint["optimizer_states"][0]["param_groups"]:
            group["fused"] = optimizer.param_groups[0]["fused"]
        if self._resume.has_new_optimizer:
            renew_optimizer(
                checkpoint,
                optimizer,
                pl_module.model.named_parameters(),
                self._resume.stored,
                self._resume.config,
                epochs_trained(checkpoint),
            )

    def _count_batches(self, trainer: Trainer, checkpoint: dict[str, Any]) -> None:
        """Inside an epoch, say how many of its batches would be done if all had been of this run.

        Lightning counts up to the batches of an epoch.
        """
        _, batches = checkpoint["DetectionDataModule"]["position"]
        done = self._data.batches_done(trainer.world_size)
        if batches and done != batches:
            count = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
            unfinished = count["processed"] - count["completed"]
            count |= {"ready": done, "started": done, "processed": done}
            count["completed"] = done - unfinished
