"""Detection with a trained file in two lines: a checkpoint, an ONNX file or an engine."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddetr_cli.commands.detector_file import checked_detector_file, open_detector
from ddetr_cli.running import InputError, input_errors
from ddetr_cli.spec import Experiment, load_tree, tree_of_values
from ddetr_cli.versions import SIBLINGS, find_misfits, sentence_of
from ddetr_data import ClassThresholds, class_thresholds, find_images
from ddetr_data.detection import detect_in, threshold_for

if TYPE_CHECKING:
    from ddetr_data import Category, ImageLike, Threshold, WrittenThreshold
    from ddetr_data.detection import Detector, ImageDetections

__all__ = ["InputError", "Model", "load"]


def load(
    path: str | os.PathLike[str], *, encryption_key: str | None = None, **options: Any
) -> Model:
    """Open a checkpoint (`.pth`), an ONNX file or a TensorRT engine; PyTorch for the first alone.

    Args:
        path: The file, or a folder that transformers has written.
        encryption_key: Passphrase of an encrypted file; also from DDETR_ENCRYPTION_KEY.
        options: Keys of a spec's block `inference`: batch_size, precision, runtime, gpu_ids,
            input_height, input_width, compile, conf_threshold.

    Raises:
        InputError: there is no such file, it is none that can be run, or an option is wrong.
    """
    refuse_misfits()
    block = {**options, "checkpoint": path}
    with input_errors():
        values = {"inference": block, "encryption_key": encryption_key}
        tree = tree_of_values(values, "ddetr.load")
        experiment = load_tree(Experiment, tree, task="inference").spec
        config = experiment.inference
        checked_detector_file(config, "load", experiment.passphrase)
        detector = open_detector(config, "load", experiment)
        threshold = threshold_for(config, detector.categories)
    for text in detector.notices:
        warnings.warn(text, stacklevel=2)
    return Model(detector, threshold)


def refuse_misfits() -> None:
    """Refuse packages of ours that do not fit together, as the command does.

    Raises:
        InputError: the text says which, and the command that mends it.
    """
    if mixed := find_misfits(SIBLINGS):
        raise InputError(sentence_of(mixed))


class Model:
    """A trained detector, whatever runs it."""

    def __init__(self, detector: Detector, threshold: WrittenThreshold = 0.0) -> None:
        """Take a detector.

        Args:
            detector: Anything with predict(images), of your own too.
            threshold: Least score of what predict gives, where it is not told another; one number,
                or numbers by class.

        Raises:
            InputError: a threshold is none, or of a class that the detector does not have.
        """
        self.detector = detector
        self.threshold: Threshold = 0.0
        self.threshold = self._threshold(threshold)

    def __repr__(self) -> str:
        """What runs it, and its classes."""
        names = ", ".join(category.name for category in self.categories)
        return f"Model({self.detector.description}; classes: {names or 'without names'})"

    @property
    def categories(self) -> tuple[Category, ...]:
        """The classes that are detected."""
        return tuple(self.detector.categories)

    @overload
    def predict(
        self, images: str | os.PathLike[str], *, threshold: WrittenThreshold | None = None
    ) -> Any: ...

    @overload
    def predict(
        self,
        images: Image.Image | NDArray[np.uint8] | NDArray[np.uint16],
        *,
        threshold: WrittenThreshold | None = None,
    ) -> ImageDetections: ...

    @overload
    def predict(
        self, images: Sequence[ImageLike], *, threshold: WrittenThreshold | None = None
    ) -> list[ImageDetections]: ...

    def predict(self, images: Any, *, threshold: WrittenThreshold | None = None) -> Any:
        """Detect in an image, or in several.

        Args:
            images: One image: a path, a Pillow image, or an array (H, W, 3), (H, W, 4) or (H, W) of
                uint8 or uint16 in RGB. Or several: a folder, with its sub-folders, a list, or an
                array (B, H, W, 3).
            threshold: Least score, 0 to 1, or a dict of one for each class, by name or id; classes
                that it does not name have its `default`, else the model's own. None is the model's
                own for all, 0.5 if nothing else was said.

        Returns:
            Of one image its detections, best first, boxes in its own pixels; of several a list of
            them, in the order of the images, or of the paths in a folder.

        Raises:
            InputError: an image is missing or damaged, or the threshold is none.
            TypeError: something is no image.
        """
        least = self.threshold if threshold is None else self._threshold(threshold)
        with input_errors():
            several = _several(images)
            found = detect_in(self.detector, [images] if several is None else several, least)
        return found[0] if several is None else found

    def _threshold(self, written: WrittenThreshold) -> Threshold:
        own = self.threshold
        usual = own.default if isinstance(own, ClassThresholds) else own
        with input_errors():
            return class_thresholds(written, self.categories, usual, "threshold")


def _several(images: Any) -> Sequence[ImageLike] | None:
    """Give the images of a folder or a list; None for a single image."""
    if isinstance(images, (str, os.PathLike)):
        return [path for path, _ in find_images(images)] if os.path.isdir(images) else None
    if isinstance(images, np.ndarray):
        return list(images) if images.ndim == 4 else None
    if hasattr(images, "numpy"):  # a tensor says neither its scale nor the order of its axes
        raise TypeError(
            f"predict takes paths, Pillow images and arrays, got {type(images).__name__}; give an "
            "array (H, W, 3) of uint8"
        )
    if isinstance(images, Iterable) and not isinstance(images, Image.Image):
        return list(images)
    return None
