"""The 12 COCO figures of every validation, the same on one process and on many."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from typing_extensions import override

from ddetr_data import DEFAULT_MAX_DETECTIONS, Detections
from ddetr_data.coco import DetectionSet
from ddetr_data.detection import raised_num_select, write_results
from ddetr_data.scoring import CocoScorer, Scores
from ddetr_train.process import gather_objects
from ddetr_train.torch_detector import detections_of

BEST_METRIC = "val_AP"


class ValidationScoring(Callback):
    """Collects detections during a validation and puts `val_<figure>` into the module's metrics."""

    def __init__(
        self,
        detection_set: DetectionSet,
        category_ids: tuple[int, ...] | None = None,
        folder: Path | None = None,  # for the last validation's files; None writes none
        *,
        class_ids: Collection[int] = (),  # that the model has; empty: all of its indices
        max_detections: int = DEFAULT_MAX_DETECTIONS,
    ) -> None:
        self.scores: Any = None  # Scores of the last validation
        self._folder = folder
        self._detection_set = detection_set
        self._category_ids = category_ids
        self._class_ids = class_ids
        self._max_detections = max_detections
        self.found: dict[int, Detections] = {}  # of this process, by image id

    @override
    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Validate also after the last epoch, when the run continues in its middle."""
        _validate_after_last(trainer)

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Validate after the last epoch, whatever validation_interval is."""
        _validate_after_last(trainer)

    @override
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the batch's detections by image id; the same image on two processes counts once."""
        sizes_hw = torch.stack([target["orig_size"] for target in batch.targets])
        num_select = raised_num_select(pl_module.model.config.num_select, self._max_detections)
        found = detections_of(outputs, sizes_hw, num_select, self._class_ids)
        ids = (int(target["image_id"]) for target in batch.targets)
        self.found.update(zip(ids, found, strict=True))

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Score on the first process and tell the others."""
        parts = gather_objects(self.found)
        self.found = {}
        scores = self._score(parts) if trainer.is_global_zero else None
        self.scores = trainer.strategy.broadcast(scores)
        for name, value in self.scores.overall.items():
            pl_module.metrics[f"val_{name}"] = float(value)
        pl_module.log(BEST_METRIC, pl_module.metrics[BEST_METRIC], logger=False)

    def _score(self, parts: list[dict[int, Detections]]) -> Scores:
        scorer = CocoScorer(
            self._detection_set,
            category_ids=self._category_ids,
            max_detections=self._max_detections,
        )
        for image_id, found in {k: v for part in parts for k, v in part.items()}.items():
            scorer.add(image_id, found)
        scores = scorer.score()
        if self._folder is not None:
            images = len(self._detection_set.images)
            facts = {"images": images, "max_detections": self._max_detections}
            write_results(self._folder, scores, scorer.results(), facts)
        return scores


def _validate_after_last(trainer: Trainer) -> None:
    if trainer.current_epoch + 1 == trainer.max_epochs:
        trainer.check_val_every_n_epoch = 1
