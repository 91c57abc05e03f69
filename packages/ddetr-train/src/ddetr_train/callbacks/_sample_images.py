"""Sample images in TensorBoard: what was found beside what is there, after every validation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from typing_extensions import override

from ddetr_data import Detections, ImageRecord
from ddetr_data.coco import DetectionSet
from ddetr_data.images import WhiteLevels, draw_detections, read_image
from ddetr_train.callbacks._scoring import ValidationScoring

SAMPLE_COUNT = 4
_LEAST_SCORE = 0.3
_LONGEST_SIDE = 512  # of a logged image, in pixels


class SampleImages(Callback):
    """Draws the first validation images, detections on the left, labels on the right."""

    def __init__(
        self, detection_set: DetectionSet, scoring: ValidationScoring, white: WhiteLevels
    ) -> None:
        self._set = detection_set
        self._white = white
        self._scoring = scoring

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Log the images; must run before the scoring forgets the detections."""
        boards = [each for each in trainer.loggers if isinstance(each, TensorBoardLogger)]
        if not trainer.is_global_zero or not boards:
            return
        for record in self._set.images[:SAMPLE_COUNT]:
            found = self._scoring.found.get(record.id)
            if found is None:  # another process has it
                continue
            image = _side_by_side(record, found.above(_LEAST_SCORE), self._set, self._white)
            for board in boards:
                board.experiment.add_image(
                    f"validation/{record.file_name}",
                    image,
                    trainer.global_step,
                    dataformats="HWC",
                )


def _side_by_side(
    record: ImageRecord, found: Detections, detection_set: DetectionSet, white: WhiteLevels
) -> NDArray[np.uint8]:
    """Give (H, 2 W, 3), detections left, labels right."""
    image = read_image(record.path, white=white)
    halves = [
        draw_detections(image, shown, detection_set.categories) for shown in (found, _truth(record))
    ]
    width, height = image.size
    scale = min(1.0, _LONGEST_SIDE / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    rows: list[NDArray[np.uint8]] = [
        np.asarray(half.resize(size, Image.Resampling.BILINEAR)) for half in halves
    ]
    return np.concatenate(rows, axis=1)


def _truth(record: ImageRecord) -> Detections:
    boxes_xyxy = record.boxes_xywh.astype(np.float32)
    boxes_xyxy[:, 2:] += boxes_xyxy[:, :2]
    return Detections(boxes_xyxy, np.ones(len(boxes_xyxy), np.float32), record.labels)
