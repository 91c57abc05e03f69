"""Detection with an exported file: NumPy, Pillow and ONNX Runtime or TensorRT, no torch.

B images of one run, H, W the file's input size, Q queries, C classes, K detections kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from ddetr_data import Category, Detections, ImageLike
from ddetr_data.images import PreprocessConfig, open_image, preprocess
from ddetr_export.onnx import (
    DETECTION_OUTPUTS,
    RAW_OUTPUTS,
    ExportMetadata,
    Network,
    OnnxNetwork,
    filled_up,
    is_engine,
    read_model,
)
from ddetr_export.postprocessing import FloatArray, select_detections

_DEFAULT_NUM_SELECT = 100


class Detector:
    """An exported file, ready to detect; follows `ddetr_data.types.Detector`."""

    def __init__(
        self,
        path: str | Path,
        encryption_key: str | None = None,
        *,
        batch_size: int | None = None,
        num_select: int | None = None,
        providers: Sequence[str] | None = None,
    ) -> None:
        """Load the file.

        Args:
            path: A file of `export_onnx`, or an engine of `build_engine`; encrypted ones too.
            encryption_key: The passphrase of an encrypted file.
            batch_size: Images a run; None is the file's own, or 1 where that is dynamic.
            num_select: Most detections an image; None is what the file's model was made with.
            providers: ONNX Runtime execution providers; None is the fastest present.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not a file of ours, the key does not open it, it takes no such batch, or
                what runs it is not installed.
        """
        self.path = Path(path)
        self._network = _open_network(self.path, encryption_key, providers)
        self.preprocess_config = _preprocess_config(self.metadata, self.path)
        for name, number in (("batch_size", batch_size), ("num_select", num_select)):
            if number is not None and number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        self.num_select = num_select or self.metadata.model.get("num_select", _DEFAULT_NUM_SELECT)
        self.batch_size = self._choose_batch(batch_size)

    @property
    def metadata(self) -> ExportMetadata:
        """What the file says about itself."""
        return self._network.metadata

    @property
    def categories(self) -> tuple[Category, ...]:
        """The classes that labels refer to, as the checkpoint named them."""
        return self.metadata.categories

    @property
    def providers(self) -> tuple[str, ...]:
        """What runs the file: execution providers of ONNX Runtime, first choice first."""
        return self._network.providers

    def predict(self, images: Sequence[ImageLike]) -> list[Detections]:
        """Detect in each image; as many results as images, in their order.

        Args:
            images: Paths, Pillow images, or arrays, of any sizes: (H, W, 3) uint8 in RGB, or grey
                (H, W) in uint8 or uint16.

        Returns:
            Detections in pixels of the original images, best first, at most num_select each.

        Raises:
            FileNotFoundError: there is no image at a path.
            ValueError: an image is damaged or has no pixels.
            TypeError: an image is something else, or images is a single one.
        """
        if isinstance(images, (str, Path)) or not isinstance(images, Sequence):
            raise TypeError("predict takes a list of images; put a single one in brackets")
        results: list[Detections] = []
        for start in range(0, len(images), self.batch_size):
            results += self._predict_batch(images[start : start + self.batch_size])
        return results

    def _predict_batch(self, images: Sequence[ImageLike]) -> list[Detections]:
        pictures = [_opened(image) for image in images]
        sizes_hw = np.array([(each.height, each.width) for each in pictures], np.int64)  # (B, 2)
        if not sizes_hw.all():
            raise ValueError("an image must have at least one pixel, got one without any")
        pixels = np.stack([preprocess(each, self.preprocess_config) for each in pictures])
        pixels = filled_up(pixels, self._network.batch_sizes[0])  # (B, 3, H, W)
        if set(DETECTION_OUTPUTS) <= set(self._network.outputs):
            return list(self._run_with_postprocess(pixels, sizes_hw))
        logits, boxes = self._network.run({"inputs": pixels}, RAW_OUTPUTS)
        count = len(pictures)
        return select_detections(logits[:count], boxes[:count], sizes_hw, self.num_select)

    def _run_with_postprocess(
        self,
        pixels: FloatArray,  # (B, 3, H, W)
        sizes_hw: NDArray[np.int64],  # (at most B, 2)
    ) -> Iterator[Detections]:
        sizes = filled_up(sizes_hw.astype(np.float32), len(pixels))
        outputs = self._network.run({"inputs": pixels, "target_sizes": sizes}, DETECTION_OUTPUTS)
        for boxes, scores, labels in zip(*(each[: len(sizes_hw)] for each in outputs), strict=True):
            kept = slice(self.num_select)
            yield Detections(boxes[kept], scores[kept], labels[kept].astype(np.int64))

    def _choose_batch(self, wanted: int | None) -> int:
        least, most = self._network.batch_sizes
        if wanted is None:
            return self._network.usual_batch
        if least == most and wanted != least:
            raise ValueError(
                f"{self.path} was exported with batch_size {least}, got {wanted}; "
                "export with export.batch_size=-1 for any batch"
            )
        if most is not None and wanted > most:
            raise ValueError(f"{self.path} takes {least} to {most} images a run, got {wanted}")
        return wanted


def _preprocess_config(metadata: ExportMetadata, path: Path) -> PreprocessConfig:
    try:
        return PreprocessConfig(**metadata.preprocess)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(
            f"{path} was written by ddetr-export {metadata.version}, whose preprocessing this "
            f"version does not know ({place}: {first['msg']}); install that version"
        ) from error


def _opened(image: ImageLike) -> Image.Image:
    """The image in RGB; beside `open_image` grey arrays of 16 bit or with an axis of 1."""
    if isinstance(image, np.ndarray):
        if image.ndim == 3 and image.shape[2] == 1:
            image = image[:, :, 0]
        if image.ndim != 2 and (image.ndim != 3 or image.shape[2] not in (3, 4)):
            raise TypeError(f"an image array must be (H, W, 3) or (H, W), got {image.shape}")
        if image.ndim == 2 and image.dtype == np.uint16:
            return open_image(Image.fromarray(image))
        if image.dtype != np.uint8:
            raise TypeError(f"an image array must be uint8, 0 to 255, got {image.dtype}")
    return open_image(image)


def _open_network(
    path: Path, encryption_key: str | None, providers: Sequence[str] | None
) -> Network:
    if not is_engine(path):
        content = read_model(path, encryption_key, "ONNX file")
        return OnnxNetwork(content, path, providers)
    from ddetr_export.tensorrt import EngineNetwork

    return EngineNetwork(path, encryption_key)
