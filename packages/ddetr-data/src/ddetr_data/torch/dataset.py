"""A map-style dataset whose samples depend on seed, epoch and index alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ddetr_data.boxes import find_repeats
from ddetr_data.coco import DetectionSet
from ddetr_data.faults import RULES, DataError
from ddetr_data.images import USUAL_WHITE, WhiteLevels, fit_objects, read_header, read_image
from ddetr_data.torch.mosaic import IMAGES, Mosaic
from ddetr_data.torch.own_transform import CheckedTransform, OwnTransform
from ddetr_data.torch.sampler import Draw
from ddetr_data.torch.transforms import Sample
from ddetr_data.types import Annotations, ImageRecord

logger = logging.getLogger(__name__)

Target: TypeAlias = dict[str, Tensor]
_OF_OBJECTS = ("boxes", "labels", "area", "iscrowd")  # in a target, a row for each object
Transform: TypeAlias = Callable[[Image.Image, Annotations, np.random.Generator], Sample]


class DetectionDataset(Dataset[tuple[Tensor, Target]]):
    """Images and targets of a detection set; crowds and repeated boxes are left out of the targets.

    A target holds boxes (N, 4) as cx, cy, w, h, normalised by the sample, labels (N,) int64,
    area (N,), iscrowd (N,), image_id (), orig_size (2,) and size (2,), both height, width; where
    the image has regions to ignore also regions (R, 4), as boxes, in which losses ask for nothing.
    """

    def __init__(
        self,
        detection_set: DetectionSet,
        transform: Transform,
        seed: int = 0,
        *,
        corrupt_images: Literal["error", "skip"] = "error",
        white: WhiteLevels = USUAL_WHITE,
        own_transform: OwnTransform | None = None,
        mosaic: Mosaic | None = None,
    ) -> None:
        """Take the transform that makes samples, and what comes before it.

        Args:
            own_transform: of one's own, for each image that is read.
            mosaic: joins some images, behind it.
        """
        self.detection_set = detection_set
        self.transform = transform
        self.seed = seed
        self.corrupt_images = corrupt_images
        self.white = white  # in images of more than 8 bits a channel
        self.mosaic = mosaic
        self.own_transform = None
        if own_transform is not None:
            ids = {category.id for category in detection_set.categories}
            self.own_transform = CheckedTransform(own_transform, ids)
        # In shared memory: workers that live over several epochs see the change.
        self._epoch: Tensor = torch.zeros((), dtype=torch.int64)
        with suppress(RuntimeError):  # without any there can be no workers either
            self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def epoch(self) -> int:
        """The epoch whose samples are drawn."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw other views from now on, also in workers that run already."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.detection_set.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        """Read and transform one image; with corrupt_images skip, the next that can be read.

        An image that a sampler draws again in an epoch (a Draw) is shown in another view.

        Raises:
            IndexError: there are fewer images.
            FileNotFoundError, DataError: the image is missing or damaged, or one's own transform
                fails at it or gives what cannot be trained on; the text names it.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"image index must be below {len(self)}, got {index}")
        position = int(index) % len(self)
        again = [index.repetition] if isinstance(index, Draw) else []
        # Of nothing but these: a view depends neither on workers nor on what was drawn before, so a
        # run that is continued shows what the uncut one would have shown.
        rng = np.random.default_rng([self.seed, self.epoch, position, *again])
        record, image, objects = self._own(position, rng)
        if self.mosaic is not None and self.mosaic.is_drawn(rng):
            others = [self._own(int(rng.integers(len(self))), rng) for _ in range(IMAGES - 1)]
            parts = [(image, objects), *(other[1:] for other in others)]
            image, objects = self.mosaic.join(parts, rng)
        sample = self.transform(image, objects, rng)
        target = {
            "boxes": sample.boxes_cxcywh,
            "labels": sample.labels,
            "area": sample.area,
            "iscrowd": sample.is_crowd.long(),
            "image_id": torch.tensor(record.id),
            "orig_size": torch.tensor([image.height, image.width]),
            "size": torch.tensor(sample.pixels.shape[1:]),
        }
        if sample.is_crowd.any():  # the crowds that are left are regions
            is_object = ~sample.is_crowd
            of_objects = {name: target[name][is_object] for name in _OF_OBJECTS}
            target |= {**of_objects, "regions": sample.boxes_cxcywh[sample.is_crowd]}
        return sample.pixels, target

    def _own(
        self, index: int, rng: np.random.Generator
    ) -> tuple[ImageRecord, Image.Image, Annotations]:
        """Give an image and what is trained of its objects, as one's own transform changes them."""
        record, image = self._read(index)
        objects = _trained(record.annotations)
        if self.own_transform is not None:
            image, objects = self.own_transform(image, objects, rng, record.path)
        return record, image, objects

    def _read(self, index: int) -> tuple[ImageRecord, Image.Image]:
        """Read an image that verify_images may have let through though its middle is damaged."""
        total = len(self)
        for position in range(index, index + total):
            record = self.detection_set.images[position % total]
            try:
                image = read_image(record.path, white=self.white)
            except (DataError, FileNotFoundError) as error:
                if self.corrupt_images == "error":
                    raise
                logger.warning("skipped: %s", error)
            else:
                return _fitted(record, image), image
        raise DataError(f"none of the {total} images can be read")


def _trained(objects: Annotations) -> Annotations:
    """Leave out crowds that are no regions, and boxes that the same class has already.

    One query finds both of two equal boxes.
    """
    if objects.is_crowd.any():
        objects = objects.keep(~objects.is_crowd | objects.is_region)
    repeats = find_repeats(objects.labels, objects.is_crowd, *objects.boxes_xywh.T)
    return objects.keep(~repeats) if repeats.any() else objects


def _fitted(record: ImageRecord, image: Image.Image) -> ImageRecord:
    """Bring boxes to an image that is not of the size stated, as verify_images would have."""
    if image.size == (record.width, record.height):
        return record
    fault, objects, inside = fit_objects(record, read_header(record.path))
    logger.warning("image=%s %s", record.path, RULES[fault].meaning)
    return replace(record, width=image.width, height=image.height, annotations=objects.keep(inside))
