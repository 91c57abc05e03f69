"""Transformers' Deformable DETR, trained by its Trainer on the images of one of our specs."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from machine import describe_machine
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset
from transformers.models.deformable_detr import modeling_deformable_detr

from ddetr_cli.commands.train import model_for_training
from ddetr_cli.spec import Experiment, load_spec
from ddetr_data.scoring import CocoScorer
from ddetr_data.torch import collate
from ddetr_model import DetectorOutput, LossConfig, ModelConfig
from ddetr_model.config import EXTRA_LEVEL, TIMM_PREFIX
from ddetr_train import TrainConfig
from ddetr_train.data import DetectionDataModule
from ddetr_train.module import cosine_factor, warmup_factor
from ddetr_train.torch_detector import detections_of

__all__ = ["train_peer"]


def train_peer(
    spec: Path, rate: float, seed: int, limits: tuple[float, float], interval: int
) -> dict[str, Any]:
    """Train transformers' model by its Trainer on the images of a spec.

    Args:
        spec: of ours, whose architecture, data, losses and schedule are taken.
        rate: of learning, for all parameters.
        seed: of the weights, the order and the views.
        limits: the AP at which it ends, and the minutes after which it does.
        interval: epochs between validations.
    """
    began = time.monotonic()
    experiment = load_spec(Experiment, spec).spec
    config, options = model_for_training(experiment), experiment.train
    data = DetectionDataModule(experiment.dataset, seed=seed, num_classes=config.num_classes)
    transformers.set_seed(seed)
    model = build_peer(config, experiment.model.losses())
    samples = data.train_dataloader().dataset
    judge = Judge(data, began, limits, interval, options.num_epochs)
    with tempfile.TemporaryDirectory() as folder:
        trainer = PeerTrainer(
            model=model,
            args=transformers.TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=data.batch_size,
                num_train_epochs=options.num_epochs,
                learning_rate=rate,
                weight_decay=options.optim.weight_decay,
                max_grad_norm=options.clip_grad_norm,
                dataloader_num_workers=data.workers,
                dataloader_persistent_workers=data.workers > 0,
                remove_unused_columns=False,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
                seed=seed,
            ),
            train_dataset=PeerSamples(samples),
            data_collator=peer_batch,
            callbacks=[judge, EpochOf(samples)],
        )
        trainer.loss_weights = loss_weights(experiment.model.losses())
        trainer.rates = partial(rate_factor, options, data.batches_per_epoch(1))
        trainer.train()
    return {
        "rate": rate,
        "parameters": sum(each.numel() for each in model.parameters()),
        "minutes": round((time.monotonic() - began) / 60, 2),
        "curve": judge.curve,
        "machine": describe_machine("torch", "transformers", "accelerate")
        | {"threads": torch.get_num_threads()},
    }


def build_peer(config: ModelConfig, losses: LossConfig) -> nn.Module:
    """Transformers' model of our architecture, with live batch norms, all of it training."""
    if not config.backbone.startswith(TIMM_PREFIX) or EXTRA_LEVEL in config.return_interm_indices:
        sys.exit(f"no peer is written for the backbone {config.backbone}")
    strides = [4 * 2**index for index in config.return_interm_indices]
    backbone = {
        "model_type": "timm_backbone",
        "backbone": config.backbone.removeprefix(TIMM_PREFIX),
        "features_only": True,
        "use_pretrained_backbone": False,
        "out_indices": [stride.bit_length() - 2 for stride in strides],
    }
    modeling_deformable_detr.replace_batch_norm = lambda _model: None
    model = transformers.DeformableDetrForObjectDetection(
        transformers.DeformableDetrConfig(
            backbone_config=backbone,
            num_labels=config.num_classes,
            num_feature_levels=config.num_feature_levels,
            d_model=config.hidden_dim,
            encoder_layers=config.enc_layers,
            decoder_layers=config.dec_layers,
            encoder_ffn_dim=config.dim_feedforward,
            decoder_ffn_dim=config.dim_feedforward,
            encoder_attention_heads=config.nheads,
            decoder_attention_heads=config.nheads,
            encoder_n_points=config.enc_n_points,
            decoder_n_points=config.dec_n_points,
            num_queries=config.num_queries,
            two_stage=config.two_stage,
            two_stage_num_proposals=config.num_queries,
            with_box_refine=config.with_box_refine,
            dropout=config.dropout_ratio,
            auxiliary_loss=losses.aux_loss,
            class_cost=whole(losses.cls_loss_coef),
            bbox_cost=whole(losses.bbox_loss_coef),
            giou_cost=whole(losses.giou_loss_coef),
            focal_alpha=losses.focal_alpha,
            disable_custom_kernels=True,
        )
    )
    return model.requires_grad_(True)


def whole(coefficient: float) -> int:
    """Give a weight of the matching as transformers takes one."""
    if coefficient != round(coefficient):
        sys.exit(f"transformers matches by whole weights, got {coefficient}")
    return round(coefficient)


def loss_weights(losses: LossConfig) -> dict[str, float]:
    """Our weights by the names of transformers' losses."""
    return {
        "loss_ce": losses.cls_loss_coef,
        "loss_bbox": losses.bbox_loss_coef,
        "loss_giou": losses.giou_loss_coef,
    }


def rate_factor(options: TrainConfig, steps_per_epoch: int, step: int) -> float:
    """What our warm-up and our schedule multiply a rate by."""
    epoch, optim = step // steps_per_epoch, options.optim
    if optim.lr_scheduler == "Cosine":
        decay = cosine_factor(epoch, options.num_epochs, optim.lr_final_mult)
    else:
        decay = optim.lr_decay ** sum(epoch >= each for each in optim.lr_steps)
    return decay * warmup_factor(options.warmup_steps, step)


class PeerSamples(Dataset[Any]):
    """Our samples, where the Trainer may count them and draw them in its own order."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]


def peer_batch(items: list[Any]) -> dict[str, Any]:
    """Our batch in transformers' words."""
    batch = collate(items)
    labels = [{"class_labels": each["labels"], "boxes": each["boxes"]} for each in batch.targets]
    return {
        "pixel_values": batch.images,
        "pixel_mask": (~batch.mask).long(),
        "labels": labels,
    }


class PeerTrainer(transformers.Trainer):
    """The Trainer with our weights of the losses, and our schedule."""

    loss_weights: dict[str, float]
    rates: Callable[[int], float]

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **_: Any
    ) -> Any:
        """Add the losses of all layers by our weights."""
        outputs = model(**inputs)
        total = sum(
            weight * value
            for name, value in outputs.loss_dict.items()
            for part, weight in self.loss_weights.items()
            if name.startswith(part)
        )
        return (total, outputs) if return_outputs else total

    def create_scheduler(self, *_: Any, optimizer: Any = None, **__: Any) -> Any:
        """Follow our warm-up and our schedule."""
        if self.lr_scheduler is None:
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, self.rates)
        return self.lr_scheduler


class EpochOf(transformers.TrainerCallback):
    """Draws new views in each epoch, as ours does."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples

    def on_epoch_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Tell our samples which epoch it is."""
        self.samples.set_epoch(round(state.epoch or 0))


class Judge(transformers.TrainerCallback):
    """Scores the validation images as ours does, and stops the run that is done."""

    def __init__(
        self,
        data: DetectionDataModule,
        began: float,
        limits: tuple[float, float],  # the AP to reach, and minutes
        interval: int,
        num_epochs: int,
    ) -> None:
        self.data, self.began, self.limits = data, began, limits
        self.interval, self.num_epochs = interval, num_epochs
        self.curve: list[dict[str, float]] = []

    def minutes(self) -> float:
        """Since the run began."""
        return round((time.monotonic() - self.began) / 60, 2)

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
        """Stop after the longest time."""
        control.should_training_stop = self.minutes() >= self.limits[1]

    def on_epoch_end(self, _args: Any, state: Any, control: Any, model: Any, **_: Any) -> None:
        """Validate after every so many epochs, after the last one, and when time is over."""
        epoch = state.epoch or 0
        is_over = control.should_training_stop or self.minutes() >= self.limits[1]
        if not is_over and round(epoch) % self.interval and round(epoch) < self.num_epochs:
            return
        scores = self.score(model.eval())
        model.train()
        row = {"epoch": round(epoch, 2), "minutes": self.minutes()}
        self.curve.append(row | {f"val_{name}": round(scores[name], 4) for name in ("AP", "AP50")})
        sys.stderr.write(f"{self.curve[-1]}\n")
        if is_over or scores["AP"] >= self.limits[0]:
            control.should_training_stop = True

    @torch.no_grad()
    def score(self, model: nn.Module) -> dict[str, float]:
        """COCO's figures of the validation images."""
        scorer = CocoScorer(self.data.val_set)
        ids = {each.id for each in self.data.train_set.categories}
        for batch in self.data.val_dataloader():
            found = model(batch.images, pixel_mask=(~batch.mask).long())
            outputs = DetectorOutput(found.logits, found.pred_boxes)
            sizes_hw = torch.stack([target["orig_size"] for target in batch.targets])
            for target, each in zip(
                batch.targets, detections_of(outputs, sizes_hw, 100, ids), strict=True
            ):
                scorer.add(int(target["image_id"]), each)
        return dict(scorer.score().overall)
