"""A checkpoint as a detector, on the CPU or on one or more GPUs.

B images, H x W pixels, K detections of one image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddetr_data import Category, DatasetConfig, Detections, ImageLike
from ddetr_data.detection import EvaluateConfig, InferenceConfig, Observer, RunEvent, emit
from ddetr_data.files import model_source
from ddetr_data.images import PreprocessConfig, open_image, pad_batch, preprocess
from ddetr_model import CheckpointMetadata, load_checkpoint, postprocess
from ddetr_train.process import Devices, choose_devices, is_launched, launched_place

# Threads that decode and resize; Pillow works outside Python's lock.
_DECODING_THREADS = 4


class TorchDetector:
    """Finds objects with a trained checkpoint; follows `ddetr_data.types.Detector`."""

    def __init__(
        self,
        checkpoint: Path,
        *,
        batch_size: int = 1,
        device: str | Sequence[str] = "cpu",
        input_size_hw: tuple[int, int] | None = None,
        categories: Sequence[Category] | None = None,
        encryption_key: str | None = None,
    ) -> None:
        """Load the file; several devices share each batch.

        Args:
            input_size_hw: fixed height and width in pixels; None resizes as in training.
            categories: other names for the classes than the checkpoint's.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no checkpoint of a detector, encrypted with another key, of a changed
                model, or has weights that are not finite, with which nothing would be found.
        """
        with model_source(Path(checkpoint), encryption_key) as source:
            model = load_checkpoint(source)
        metadata = model.metadata or CheckpointMetadata(model_config_=model.config)
        model.requires_grad_(False)
        self.batch_size = batch_size
        self.preprocess_config = _preprocessing(metadata.preprocess, input_size_hw)
        self.model_config = model.config
        self.categories = tuple(categories or _named(metadata.categories))
        self._devices = [device] if isinstance(device, str) else list(device)
        self._models = [deepcopy(model).to(device) for device in self._devices[1:]]
        self._models.insert(0, model.to(self._devices[0]))
        self._threads = ThreadPoolExecutor(max(_DECODING_THREADS, len(self._devices)))

    def predict(self, images: Sequence[ImageLike]) -> list[Detections]:
        """Detect in each image; boxes are in pixels of the original images, best first."""
        share = -(-self.batch_size // len(self._devices))
        found: list[Detections] = []
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            parts = [batch[at : at + share] for at in range(0, len(batch), share)]
            inputs = [self._inputs(part) for part in parts]
            spread = map if len(parts) == 1 else self._threads.map
            run = spread(self._run, range(len(parts)), inputs)
            found += [detections for part in run for detections in part]
        return found

    def _inputs(self, images: Sequence[ImageLike]) -> tuple[Tensor, Tensor, Tensor]:
        """Give images (B, 3, H, W), mask (B, H, W) and original sizes (B, 2)."""
        opened = list(self._threads.map(open_image, images))
        pixels = list(
            self._threads.map(lambda image: preprocess(image, self.preprocess_config), opened)
        )
        batch, mask = pad_batch(pixels)
        sizes_hw = torch.tensor([(image.height, image.width) for image in opened])
        return torch.from_numpy(batch), torch.from_numpy(mask), sizes_hw

    def _run(self, place: int, inputs: tuple[Tensor, Tensor, Tensor]) -> list[Detections]:
        images, mask, sizes_hw = (value.to(self._devices[place]) for value in inputs)
        with torch.inference_mode():
            outputs = self._models[place](images, mask)
        return detections_of(outputs, sizes_hw, self.model_config.num_select)


def build_detector(
    checkpoint: Path,
    dataset: DatasetConfig,
    config: EvaluateConfig | InferenceConfig,
    observers: Sequence[Observer],
    encryption_key: str | None,
) -> TorchDetector:
    """Load a checkpoint as the options say, and tell where it runs and how it resizes."""
    devices = choose_devices(
        config.num_gpus, config.gpu_ids, gpus_present=torch.cuda.device_count()
    )
    if devices.notice:
        emit(observers, RunEvent("notice", devices.notice))
    size_hw = None
    if config.input_height is not None and config.input_width is not None:
        size_hw = (config.input_height, config.input_width)
    detector = TorchDetector(
        checkpoint,
        batch_size=config.batch_size or dataset.batch_size,
        device=_own_names(devices),
        input_size_hw=size_hw,
        encryption_key=encryption_key,
    )
    if size_hw is None and "augmentation" in dataset.model_fields_set:
        _compare_preprocessing(detector.preprocess_config, dataset, observers)
    return detector


def report_progress(observers: Sequence[Observer], done: int, total: int) -> None:
    """Report finished images as a step."""
    emit(observers, RunEvent("step", step=done, total_steps=total))


def detections_of(
    outputs: dict[str, Any],
    sizes_hw: Tensor,  # (B, 2), original height and width
    num_select: int,
) -> list[Detections]:
    """Turn a model's outputs into the num_select best detections of each image."""
    return [
        Detections(
            boxes_xyxy=found["boxes_xyxy"].float().cpu().numpy(),
            scores=found["scores"].float().cpu().numpy(),
            labels=found["labels"].cpu().numpy(),
        )
        for found in postprocess(outputs, sizes_hw, num_select)
    ]


def _own_names(devices: Devices) -> list[str]:
    """Give a process all devices, or its own one where a launcher started several processes."""
    names = devices.names
    return [names[launched_place() % len(names)]] if is_launched() else names


def _preprocessing(
    stored: Mapping[str, Any] | None, input_size_hw: tuple[int, int] | None
) -> PreprocessConfig:
    config = PreprocessConfig(**(stored or {}))
    if input_size_hw is None:
        return config
    height, width = input_size_hw
    return config.model_copy(update={"mode": "fixed", "height": height, "width": width})


def _named(categories: Sequence[Mapping[str, Any]]) -> list[Category]:
    return [Category(int(category["id"]), str(category["name"])) for category in categories]


def _compare_preprocessing(
    stored: PreprocessConfig, dataset: DatasetConfig, observers: Sequence[Observer]
) -> None:
    asked = PreprocessConfig.from_augmentation(dataset.augmentation)
    if asked != stored:
        text = (
            f"images are resized and normalised as the checkpoint was trained ({stored!r}), "
            "not as dataset.augmentation says"
        )
        emit(observers, RunEvent("notice", text))
