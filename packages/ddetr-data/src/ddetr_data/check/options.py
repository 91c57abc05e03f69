"""How data are checked."""

from __future__ import annotations

from dataclasses import dataclass

from ddetr_data.config import AugmentationConfig, ClassMatch
from ddetr_data.formats import ClassMapping
from ddetr_data.loading import TrainingLimits


@dataclass(frozen=True)
class CheckOptions:
    """What is known about the use of the data, and how closely images are looked at."""

    num_classes: int | None = None  # category ids must be below it
    num_queries: int | None = None  # images with more objects are named
    finest_stride: int | None = None  # pixels; boxes that become smaller in training are counted
    augmentation: AugmentationConfig | None = None  # the sizes of training, likewise
    images_a_step: int | None = None  # fewer images to train on are told
    max_detections: int | None = None  # likewise, of a split that is scored
    ignore_regions: bool = False  # as in the spec, of COCO and KITTI sets
    match_classes: ClassMatch = "id"  # how tables of classes are compared, as in the spec
    max_dropped: float = 0.5  # fraction of the objects of wanted classes, likewise
    eval_class_ids: tuple[int, ...] | None = None  # classes wanted of splits that are scored
    mapping: ClassMapping | None = None  # of KITTI classes; None knows every class
    decode: bool = True  # False reads images' headers and ends alone, and compares no contents
    workers: int = 0  # processes that look at images; 0: one for each core
    images_a_chunk: int = 100  # that a process looks at at a time
    labels_a_chunk: int = 1000  # files that a process reads at a time

    @property
    def training_limits(self) -> TrainingLimits:
        """What a training with these options can take."""
        return TrainingLimits(
            num_classes=self.num_classes,
            num_queries=self.num_queries,
            finest_stride=self.finest_stride,
            augmentation=self.augmentation,
            images_a_step=self.images_a_step,
            eval_class_ids=self.eval_class_ids,
        )
