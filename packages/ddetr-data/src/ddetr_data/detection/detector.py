"""What a detector must offer, whichever runtime is behind it, and one checked call of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ddetr_data.config import DatasetConfig
from ddetr_data.faults import DataError
from ddetr_data.images import (
    USUAL_WHITE,
    PreprocessConfig,
    WhiteLevels,
    dataset_white,
    image_batches,
)
from ddetr_data.types import Category, Detections, ImageLike


class Detector(Protocol):
    """Anything that detects: a checkpoint, an ONNX file, an engine, or a class of one's own.

    A class that inherits from this one has the defaults below.
    """

    batch_size: int  # images that it likes to get at once
    categories: tuple[Category, ...]  # the classes that labels refer to; empty if it has no names
    num_classes: int | None = None  # labels are below it; None if it does not say
    most_detections: int | None = None  # that an image can get; None if it does not say
    preprocess_config: PreprocessConfig | None = None  # None if it does not say
    description: str = ""  # what runs it and where, for the person who waits
    notices: tuple[str, ...] = ()  # what that person should know although nothing failed

    def predict(self, images: Sequence[ImageLike]) -> list[Detections]:
        """Detect in each image; as many results as images, in their order."""
        ...

    def prepare(self, images: Sequence[ImageLike]) -> Sequence[ImageLike]:
        """Do what can be done before the network runs; `predict` then takes what this gives.

        Called with one batch, in other threads than predict and at the same time: it must change
        nothing. A detector whose predict reads and resizes gives `Prepared`; by default nothing is
        done.
        """
        return images


@dataclass(frozen=True, eq=False)
class Prepared(Sequence[ImageLike]):
    """The images of one batch, with what a detector has made of them for its network."""

    images: Sequence[ImageLike]
    inputs: Any

    def __getitem__(self, index: Any) -> Any:
        return self.images[index]

    def __len__(self) -> int:
        return len(self.images)


def prepared_batches(
    images: Sequence[ImageLike],
    batch_size: int,
    prepare: Callable[[Sequence[ImageLike]], Prepared],
) -> Iterator[Prepared]:
    """Divide what `predict` is given into batches and prepare them; what is prepared stays.

    Raises:
        TypeError: it is a single image.
    """
    if isinstance(images, Prepared):
        yield images
    else:
        yield from map(prepare, image_batches(images, batch_size))


class DetectorError(DataError):
    """A detector that gives what cannot be an answer: its file is damaged, or its precision low."""


def prepare(detector: Detector, images: Sequence[ImageLike]) -> Sequence[ImageLike]:
    """Prepare the images of one batch for `detect`; a class that lacks `prepare` gets them so."""
    return detector.prepare(images) if images and hasattr(detector, "prepare") else images


def detect(detector: Detector, images: Sequence[ImageLike]) -> list[Detections]:
    """Run a detector, and check that its results are finite and as many as the images.

    Raises:
        DetectorError: it gives more or fewer results than images, or NaN.
    """
    found = detector.predict(images) if images else []
    if len(found) != len(images):
        raise DetectorError(f"a detector must answer for {len(images)} images, got {len(found)}")
    for image, each in zip(images, found, strict=True):
        if not (np.isfinite(each.scores).all() and np.isfinite(each.boxes_xyxy).all()):
            name = f" for {image}" if isinstance(image, (str, os.PathLike)) else ""
            raise DetectorError(
                f"the detector gives NaN or infinite numbers{name}, its file is damaged or its "
                f"precision too low: {detector.description or 'unnamed'}"
            )
    return found


def white_of(detector: Detector) -> WhiteLevels:
    """Which values are white to a detector in images of more than 8 bits a channel."""
    config = detector.preprocess_config
    return USUAL_WHITE if config is None else config.white


def fill_in_white(detector: Detector, dataset: DatasetConfig) -> None:
    """Give a detector the dataset's white levels where its file says none."""
    config = detector.preprocess_config
    asked = dataset_white(dataset)
    if config is not None and config.white.or_else(asked) != config.white:
        detector.preprocess_config = config.with_white(config.white.or_else(asked))


def setup_notices(detector: Detector, dataset: DatasetConfig) -> list[str]:
    """Sentences on what runs, how it resizes, and where dataset.augmentation differs from that."""
    config = detector.preprocess_config
    resizing = "" if config is None else f"images are {config.resizing}"
    notices = ["; ".join(filter(None, (detector.description, resizing))), *detector.notices]
    if config is not None and "augmentation" in dataset.model_fields_set:
        asked = _deciding(PreprocessConfig.from_augmentation(dataset.augmentation), config)
        own = _deciding(config, config)
        differing = [name for name in own if own[name] != asked[name]]
        if differing:
            used, wanted = (", ".join(f"{n} {v[n]}" for n in differing) for v in (own, asked))
            notices.append(
                f"images are prepared as the detector was made for ({used}), not as "
                f"dataset.augmentation says ({wanted})"
            )
    asked_white, own_white = dataset_white(dataset), white_of(detector)
    if config is not None and asked_white.or_else(own_white) != own_white:
        notices.append(
            f"white is what the detector was made for ({own_white}), not what "
            f"dataset.integer_white_level and dataset.float_white_level say ({asked_white})"
        )
    return [text for text in notices if text]


def _deciding(config: PreprocessConfig, used: PreprocessConfig) -> dict[str, Any]:
    """The options that change pixels; beside a fixed size the limits on sides have no effect."""
    names = {"mean", "std"} | ({"shortest_edge", "max_size"} if used.mode != "fixed" else set())
    return config.model_dump(include=names)
