"""Which callbacks a run has, in the order in which they must act."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytorch_lightning.callbacks import Callback, EMAWeightAveraging

from ddetr_data.detection import Observer
from ddetr_train.callbacks._checkpoints import Checkpoints
from ddetr_train.callbacks._early_stopping import EarlyStopping
from ddetr_train.callbacks._learning import Learning
from ddetr_train.callbacks._reporting import Reporting
from ddetr_train.callbacks._resuming import Resuming
from ddetr_train.callbacks._sample_images import SampleImages
from ddetr_train.callbacks._scoring import ValidationScoring
from ddetr_train.callbacks.last_update import LastUpdate
from ddetr_train.callbacks.preemption import Preemption
from ddetr_train.checkpoints import Resume
from ddetr_train.config import VALIDATION_FOLDER, TrainConfig
from ddetr_train.data import DetectionDataModule


def choose_callbacks(
    config: TrainConfig,
    results_dir: Path,
    data: DetectionDataModule,
    observers: Sequence[Observer],
    last_update: LastUpdate,
    resume: Resume | None = None,
) -> list[Callback]:
    """Average the weights first, report next, save last; a dry run saves nothing.

    `last_update` is what another thread saves by.
    """
    callbacks: list[Callback] = [Resuming(resume, data)] if resume is not None else []
    checkpoints = Checkpoints(results_dir, config, data, observers, last_update)
    if config.ema_decay is not None:
        callbacks.append(EMAWeightAveraging(decay=config.ema_decay))
    callbacks.append(Reporting(observers, verbose=config.verbose))
    if not config.is_dry_run:
        callbacks.append(Preemption(checkpoints, config.resume_training_checkpoint_path))
    if data.val_set is not None:
        folder = None if config.is_dry_run else results_dir / VALIDATION_FOLDER
        scoring = ValidationScoring(
            data.val_set,
            data.eval_class_ids,
            folder,
            class_ids=[category.id for category in data.train_set.categories],
            max_detections=config.max_detections,
        )
        counts_anew = resume is not None and resume.patience.counts_anew
        stopping = EarlyStopping(config, observers, counts_anew=counts_anew)
        callbacks += [SampleImages(data.val_set, scoring, data.preprocess.white), scoring, stopping]
    return (
        callbacks if config.is_dry_run else [*callbacks, Learning(config, observers), checkpoints]
    )
