"""A checkpoint as a detector, on the CPU or on one or more GPUs.

B images, H x W pixels, K detections of one image.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor, nn

from ddetr_data import Detections, ImageLike, as_categories
from ddetr_data.detection import (
    Detector,
    DeviceConfig,
    Prepared,
    prepared_batches,
    raised_num_select,
)
from ddetr_data.files import model_source
from ddetr_data.images import PreprocessConfig, open_image, pad_batch, preprocess
from ddetr_model import (
    CheckpointMetadata,
    DeformableDETR,
    DetectorOutput,
    inference_form,
    load_checkpoint,
    postprocess,
)
from ddetr_train.process import choose_devices, is_launched, launched_local_rank, memory_named

__all__ = ["TorchDetector", "detections_of", "open_detector"]

# Threads that decode and resize; Pillow works outside Python's lock.
_DECODING_THREADS = 4
_LESS_MEMORY = "lower batch_size, or give a smaller input_height and input_width"


class TorchDetector(Detector):
    """Finds objects with a trained checkpoint."""

    preprocess_config: PreprocessConfig
    most_detections: int

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        encryption_key: str | None = None,
        batch_size: int = 1,
        input_size_hw: tuple[int, int] | None = None,
        device: str | Sequence[str] = "cpu",
        network: DeformableDETR | None = None,
        form: Callable[[DeformableDETR], nn.Module] = inference_form,
    ) -> None:
        """Load the file; several devices share each batch.

        Args:
            checkpoint: a file of `ddetr_model.save_checkpoint` or of a training run.
            encryption_key: the passphrase of an encrypted file.
            batch_size: images a run, of all devices together.
            input_size_hw: fixed height and width in pixels; None resizes as in training.
            device: as PyTorch names them.
            network: what to fill, for a checkpoint with parts from outside.
            form: makes of the network on its device what runs; `ddetr_model.inference_form` has
                precisions and a compiler.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no checkpoint of a detector, encrypted with another key, of a changed
                model, or has weights that are not finite, with which nothing would be found.
        """
        with model_source(Path(checkpoint), encryption_key) as source:
            model = load_checkpoint(source, network=network)
        metadata = model.metadata or CheckpointMetadata(model_config_=model.config)
        model.requires_grad_(False)
        self.batch_size = batch_size
        self.preprocess_config = PreprocessConfig.of_file(metadata.preprocess, str(checkpoint))
        if input_size_hw is not None:
            self.preprocess_config = self.preprocess_config.fixed_to(*input_size_hw)
        self.categories = as_categories(metadata.categories)
        self.num_classes = model.config.num_classes
        self.most_detections = model.config.num_select
        self._devices = [device] if isinstance(device, str) else list(device)
        self._models = [form(model.to(device)) for device in self._devices]
        self.notices = tuple(getattr(self._models[0], "notices", ()))
        self._threads = ThreadPoolExecutor(max(_DECODING_THREADS, len(self._devices)))
        self.description = f"{Path(checkpoint).name} runs on {', '.join(self._devices)}"

    def predict(self, images: Sequence[ImageLike]) -> list[Detections]:
        """Detect in each image; boxes are in pixels of the original images, best first.

        Args:
            images: as `ddetr_data.images.open_image` takes them, or a batch from `prepare`.

        Raises:
            FileNotFoundError, ValueError, TypeError: as open_image.
            OutOfMemoryError: a batch does not fit; the text says what to change.
        """
        found: list[Detections] = []
        for batch in prepared_batches(images, self.batch_size, self.prepare):
            spread = map if len(batch.inputs) == 1 else self._threads.map
            run = spread(self._run, range(len(batch.inputs)), batch.inputs)
            found += [detections for part in run for detections in part]
        return found

    def prepare(self, images: Sequence[ImageLike]) -> Prepared:
        """Read, resize and pad the images of one batch; any thread may do it."""
        size = -(-self.batch_size // len(self._devices))
        parts = [images[at : at + size] for at in range(0, len(images), size)]
        return Prepared(images, [self._inputs(part) for part in parts])

    def keep_enough(self, max_detections: int) -> None:
        """Keep as many detections an image as are scored, if that is more than COCO's 100."""
        self.most_detections = raised_num_select(self.most_detections, max_detections)

    def _inputs(self, images: Sequence[ImageLike]) -> tuple[Tensor, Tensor | None, Tensor]:
        """Give images (B, 3, H, W), mask (B, H, W) if any is padded, and original sizes (B, 2)."""
        config = self.preprocess_config
        opened = list(self._threads.map(lambda image: open_image(image, config.white), images))
        pixels = list(self._threads.map(lambda image: preprocess(image, config), opened))
        batch, mask = pad_batch(pixels)
        sizes_hw = torch.tensor([(image.height, image.width) for image in opened])
        return torch.from_numpy(batch), torch.from_numpy(mask) if mask.any() else None, sizes_hw

    def _run(self, index: int, inputs: tuple[Tensor, Tensor | None, Tensor]) -> list[Detections]:
        images, mask, sizes_hw = inputs
        device = self._devices[index]
        height, width = images.shape[-2:]
        with memory_named(len(images), (height, width), _LESS_MEMORY), torch.inference_mode():
            outputs = self._models[index](
                images.to(device), None if mask is None else mask.to(device)
            )
        ids = [category.id for category in self.categories]
        return detections_of(outputs, sizes_hw, self.most_detections, ids)


def open_detector(
    path: str | Path,
    *,
    encryption_key: str | None = None,
    batch_size: int | None = None,
    input_size_hw: tuple[int, int] | None = None,
    devices: DeviceConfig | None = None,
    network: DeformableDETR | None = None,
    form: Callable[[DeformableDETR], nn.Module] = inference_form,
) -> TorchDetector:
    """Open a checkpoint on the GPUs that the options choose, or on the CPU where there are none.

    Of several processes that a launcher has started on a machine each takes one of the devices.

    Args:
        path: the checkpoint, plain or encrypted.
        encryption_key: the passphrase of an encrypted one.
        batch_size: images a run; None is 1.
        input_size_hw: fixed height and width in pixels; None resizes as in training.
        devices: which GPUs; None is the first one.
        network: what to fill, for a checkpoint with parts from outside.
        form: as TorchDetector.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as TorchDetector, or the machine lacks a GPU that the options name.
    """
    wanted = devices or DeviceConfig()
    chosen = choose_devices(wanted.num_gpus, wanted.gpu_ids, gpus_present=torch.cuda.device_count())
    names = chosen.names
    detector = TorchDetector(
        path,
        encryption_key=encryption_key,
        batch_size=batch_size or 1,
        input_size_hw=input_size_hw,
        device=[names[launched_local_rank() % len(names)]] if is_launched() else names,
        network=network,
        form=form,
    )
    if chosen.notice:
        detector.description += " (no GPU on this machine)"
    return detector


def detections_of(
    outputs: DetectorOutput,
    sizes_hw: Tensor,  # (B, 2), original height and width
    num_select: int,
    class_ids: Collection[int] = (),
) -> list[Detections]:
    """Turn a model's outputs into the num_select best detections of each image.

    A class that class_ids lacks is never detected; empty stands for all.
    """
    return [
        Detections(
            boxes_xyxy=found["boxes_xyxy"].float().cpu().numpy(),
            scores=found["scores"].float().cpu().numpy(),
            labels=found["labels"].cpu().numpy(),
        )
        for found in postprocess(outputs, sizes_hw, num_select, class_ids)
    ]
