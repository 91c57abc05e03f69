"""Detection with an exported file: NumPy, Pillow and ONNX Runtime, no torch.

B images of one run, H, W the file's input size, Q queries, C classes, K detections kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ddetr_data.preprocess import PreprocessConfig, open_image, preprocess
from ddetr_data.types import Category, Detections, ImageLike
from ddetr_export.detections import FloatArray, select_detections
from ddetr_export.metadata import ExportMetadata
from ddetr_export.session import open_session

if TYPE_CHECKING:
    from PIL import Image

_DEFAULT_NUM_SELECT = 100


class Detector:
    """An exported ONNX file, ready to detect; follows `ddetr_data.types.Detector`."""

    def __init__(
        self,
        path: str | Path,
        *,
        batch_size: int | None = None,
        num_select: int | None = None,
        providers: Sequence[str] | None = None,
    ) -> None:
        """Load the file.

        Args:
            path: A file written by `export_onnx`.
            batch_size: Images a run; None is the file's own, or 1 where that is dynamic.
            num_select: Most detections an image; None is what the file's model was made with.
            providers: ONNX Runtime execution providers; None is the fastest present.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not a file of ours, or batch_size is not its fixed one.
        """
        self.path = Path(path)
        if self.path.suffix == ".engine":
            raise ValueError(
                f"{self.path} is a TensorRT engine, which is not available in this version; "
                "give the .onnx file it was built from"
            )
        self._session = open_session(self.path, providers)
        properties = self._session.get_modelmeta().custom_metadata_map
        self.metadata = ExportMetadata.from_properties(properties, str(self.path))
        self.preprocess_config = PreprocessConfig(**self.metadata.preprocess)
        self._fixed_batch = _fixed_batch(self._session)
        for name, number in (("batch_size", batch_size), ("num_select", num_select)):
            if number is not None and number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        self.num_select = num_select or self.metadata.model.get("num_select", _DEFAULT_NUM_SELECT)
        self.batch_size = self._choose_batch(batch_size)
        self._outputs = [output.name for output in self._session.get_outputs()]

    @property
    def categories(self) -> tuple[Category, ...]:
        """The classes that labels refer to, as the checkpoint named them."""
        return self.metadata.categories

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers in use, first choice first."""
        return tuple(self._session.get_providers())

    def predict(self, images: Sequence[ImageLike]) -> list[Detections]:
        """Detect in each image; as many results as images, in their order.

        Args:
            images: Paths, Pillow images, or (H, W, 3) uint8 arrays in RGB, of any sizes.

        Returns:
            Detections in pixels of the original images, best first, at most num_select each.
        """
        results: list[Detections] = []
        for start in range(0, len(images), self.batch_size):
            results += self._predict_batch(images[start : start + self.batch_size])
        return results

    def _predict_batch(self, images: Sequence[ImageLike]) -> list[Detections]:
        pictures = [open_image(image) for image in images]
        sizes_hw = np.array([(each.height, each.width) for each in pictures], np.int64)  # (B, 2)
        pixels = self._pixels(pictures)
        if "boxes" in self._outputs:
            return list(self._run_with_postprocess(pixels, sizes_hw))
        logits, boxes = self._session.run(["pred_logits", "pred_boxes"], {"inputs": pixels})
        count = len(pictures)
        return select_detections(logits[:count], boxes[:count], sizes_hw, self.num_select)

    def _run_with_postprocess(
        self,
        pixels: FloatArray,  # (B, 3, H, W)
        sizes_hw: NDArray[np.int64],  # (at most B, 2)
    ) -> Iterator[Detections]:
        target_sizes = np.ones((len(pixels), 2), np.float32)
        target_sizes[: len(sizes_hw)] = sizes_hw
        feeds = {"inputs": pixels, "target_sizes": target_sizes}
        outputs = self._session.run(["boxes", "scores", "labels"], feeds)
        for boxes, scores, labels in zip(*(each[: len(sizes_hw)] for each in outputs), strict=True):
            kept = slice(self.num_select)
            yield Detections(boxes[kept], scores[kept], labels[kept].astype(np.int64))

    def _pixels(self, pictures: Sequence[Image.Image]) -> FloatArray:
        """(B, 3, H, W); filled up with zeros where the file's batch is fixed and larger."""
        pixels = np.stack([preprocess(each, self.preprocess_config) for each in pictures])
        missing = (self._fixed_batch or 0) - len(pixels)
        if missing > 0:
            empty = np.zeros((missing, *pixels.shape[1:]), pixels.dtype)
            pixels = np.concatenate([pixels, empty])
        return pixels

    def _choose_batch(self, wanted: int | None) -> int:
        if wanted is not None and self._fixed_batch is not None and wanted != self._fixed_batch:
            raise ValueError(
                f"{self.path} was exported with batch_size {self._fixed_batch}, got {wanted}; "
                "export with export.batch_size=-1 for any batch"
            )
        return self._fixed_batch or wanted or 1


def _fixed_batch(session: Any) -> int | None:
    """The batch that the file insists on; None where it is dynamic."""
    batch = session.get_inputs()[0].shape[0]
    return batch if isinstance(batch, int) else None
