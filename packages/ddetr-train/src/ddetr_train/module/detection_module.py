"""The LightningModule: one step of training, one of validation, and what a checkpoint carries.

B images, Q queries, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from typing_extensions import override

from ddetr_data import Category
from ddetr_data.torch import Batch
from ddetr_model import DeformableDETR, DetectorOutput, SetCriterion, parts_from_outside
from ddetr_model.weights import metadata_dict
from ddetr_train.checkpoints import parts_of_run
from ddetr_train.config import TrainConfig
from ddetr_train.module._running_mean import RunningMean
from ddetr_train.module.optimizer import (
    build_optimizer,
    build_schedule,
    build_warmup,
    parameter_groups,
)
from ddetr_train.nan import NanGuard
from ddetr_train.process import seed_batch, signals_held


class DetectionModule(pl.LightningModule):
    """The network as `self.model`, with its losses and its optimiser.

    `metrics` holds the figures of the present epoch by the names that TensorBoard uses.
    """

    def __init__(
        self,
        model: DeformableDETR,
        config: TrainConfig,
        criterion: SetCriterion,
        guard: NanGuard,
        *,
        categories: Sequence[Category],
        preprocess: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.model = model
        self.criterion = criterion
        self.config = config
        self.metrics: dict[str, float] = {}
        self.step_metrics: dict[str, float] = {}
        self._categories = tuple(categories)
        self._preprocess = preprocess
        self._guard = guard
        self.train_loss = RunningMean()  # of the epoch
        self._val_loss = RunningMean()
        self._first_batch: int | None = None  # that this process saw of the epoch
        self.save_hyperparameters(
            {
                "model": model.config.model_dump(mode="json"),
                "losses": model.losses.model_dump(mode="json"),
                "train": config.model_dump(mode="json"),
                "parts": parts_of_run(model, self.criterion),
            },
            logger=False,
        )

    @override
    def on_train_epoch_start(self) -> None:
        """Forget the last epoch's figures."""
        self.metrics = {}
        self._first_batch = 0

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the weighted loss of one batch, ready for the backward pass."""
        seed_batch(self.config.seed, self.current_epoch, batch_idx, self.global_rank)
        if self._first_batch is None:  # the run goes on inside an epoch
            self._first_batch = batch_idx
        losses = self.losses(batch)
        loss = self.criterion.total_loss(losses)
        value = float(loss.detach())
        self.train_loss.add(value)
        self.step_metrics = {"step_loss": value} | {
            f"step_{name}": float(losses[name].detach()) for name in _SHOWN if name in losses
        }
        loss = self._guard.watch(batch, loss, self.current_epoch, batch_idx)
        return loss * self._fraction_of_update(batch_idx)

    @override
    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients, all or none of them."""
        with signals_held():
            super().backward(loss, *args, **kwargs)

    @override
    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Close the epoch's mean loss with its last batch."""
        if batch_idx + 1 == self.trainer.num_training_batches:
            self.metrics["train_loss"] = self.train_loss.close(self)

    @override
    def on_train_epoch_end(self) -> None:
        """Step the plateau schedule, before the epoch's files are written."""
        schedule = self._schedules()[0]
        monitored = self.metrics.get(self.config.optim.lr_monitor)
        if isinstance(schedule, ReduceLROnPlateau) and monitored is not None:
            schedule.step(monitored)

    @override
    def validation_step(  # type: ignore[override]
        self, batch: Batch, batch_idx: int
    ) -> DetectorOutput:
        """Return the raw outputs; callbacks make detections and scores of them."""
        outputs: DetectorOutput = self.model(batch.images, _needed_mask(batch))
        losses = self.criterion(outputs, batch.targets)
        self._val_loss.add(float(self.criterion.total_loss(losses)), len(batch.images))
        return outputs

    @override
    def on_validation_epoch_end(self) -> None:
        """Close the mean validation loss."""
        self.metrics["val_loss"] = self._val_loss.close(self)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Run the network and compute its errors, unweighted."""
        noised = batch.targets if self.model.losses.denoising_groups else None
        outputs: DetectorOutput = self.model(batch.images, _needed_mask(batch), noised)
        losses: dict[str, Tensor] = self.criterion(outputs, batch.targets)
        return losses

    def build_optimizer(self) -> Optimizer:
        """Make the optimiser of the parameters that train."""
        optim = self.config.optim
        groups = parameter_groups(self.model.named_parameters(), optim)
        is_sharded = self.config.distributed_strategy == "fsdp"
        fused = self.config.precision != "fp16" and not is_sharded  # fused steps unscale unseen
        return build_optimizer(groups, optim, fused=fused)

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make the optimiser, its schedule by epochs and the warm-up by updates."""
        optim, optimizer = self.config.optim, self.build_optimizer()
        schedules: list[Any] = [
            {
                "scheduler": build_schedule(optimizer, optim),
                "interval": "epoch",
                "reduce_on_plateau": False,
            }
        ]
        if self.config.warmup_steps:
            warmup = build_warmup(optimizer, self.config.warmup_steps)
            schedules.append({"scheduler": warmup, "interval": "step"})
        return [optimizer], schedules

    @override
    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Step every schedule but the plateau's, whose turn is before the epoch's files."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    @override
    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Tell the other processes this one's losses; a checkpoint has those of all."""
        self.train_loss.exchange(self)

    @override
    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Measure the norm of all gradients together, stop if it is not finite, and clip."""
        limit = self.config.clip_grad_norm
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        total = torch.nn.utils.get_total_norm(gradients)
        if limit > 0:
            torch.nn.utils.clip_grads_with_norm_(parameters, limit, total)
        norm = float(total.full_tensor() if hasattr(total, "full_tensor") else total)
        self.step_metrics["gradient_norm"] = norm
        self._guard.check(self, norm)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what evaluation, inference and export need, and the epoch's running mean."""
        checkpoint["ddetr"] = metadata_dict(
            self.model.config,
            losses=self.model.losses,
            parts=parts_from_outside(self.model),
            categories=[{"id": each.id, "name": each.name} for each in self._categories],
            preprocess=self._preprocess,
            metrics=self.metrics,
        )
        checkpoint["train_loss"] = self.train_loss.state()

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue the epoch's running mean, or with its figures where only validation is left."""
        self.train_loss.restore(checkpoint["train_loss"], self.global_rank, self.trainer.world_size)
        self.metrics = dict(checkpoint["ddetr"]["metrics"])

    def _fraction_of_update(self, batch_idx: int) -> float:
        """Weigh fewer batches than accumulate_grad_batches as a whole update.

        As an epoch's last ones are, and the first where a run goes on with other batches.

        Lightning divides every loss by accumulate_grad_batches, also where fewer are added.
        """
        wanted = self.trainer.accumulate_grad_batches
        begun = batch_idx // wanted * wanted
        end = min(begun + wanted, int(self.trainer.num_training_batches))
        return wanted / (end - max(begun, self._first_batch or 0))

    def _schedules(self) -> list[LRScheduler]:
        return [config.scheduler for config in self.trainer.lr_scheduler_configs]


# The parts of the loss that a user follows, of the last decoder layer.
_SHOWN = ("loss_ce", "loss_bbox", "loss_giou", "class_error", "cardinality_error")


def _needed_mask(batch: Batch) -> Tensor | None:
    """Give the mask (B, H, W), or None where nothing is padded: the same answer, sooner.

    A GPU's mask is always given, since looking at it would make the host wait.
    """
    return batch.mask if batch.mask.is_cuda or bool(batch.mask.any()) else None
