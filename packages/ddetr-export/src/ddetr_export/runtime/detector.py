"""Detection with an exported file: NumPy, Pillow and what runs the file, no torch.

B images of one run, H, W the file's input size, Q queries, C classes, K detections kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ddetr_data import Detections, ImageLike
from ddetr_data.detection import Detector, Prepared, prepared_batches, raised_num_select
from ddetr_data.images import PreprocessConfig
from ddetr_export.onnx import (
    DETECTION_OUTPUTS,
    RAW_OUTPUTS,
    ExportMetadata,
    Network,
    OnnxNetwork,
    check_runtime,
    filled_up,
    is_engine,
    read_model,
    session_opener,
    stored_path,
)
from ddetr_export.postprocessing import FloatArray, select_detections
from ddetr_export.preprocessing import stacked

if TYPE_CHECKING:
    from ddetr_data.detection import Precision, Runtime

__all__ = ["OnnxDetector", "open_detector"]

_DEFAULT_NUM_SELECT = 100


class OnnxDetector(Detector):
    """An exported file, ready to detect."""

    preprocess_config: PreprocessConfig

    def __init__(
        self,
        path: str | Path,
        encryption_key: str | None = None,
        *,
        batch_size: int | None = None,
        input_size_hw: tuple[int, int] | None = None,
        num_select: int | None = None,
        runtime: Runtime = "auto",
        precision: Precision = "fp32",
        providers: Sequence[str] | None = None,
    ) -> None:
        """Load the file.

        Args:
            path: A file of `export_onnx`, or an engine of `build_engine`; encrypted ones too.
            encryption_key: The passphrase of an encrypted file.
            batch_size: Images a run; None is the file's own, or 1 where that is dynamic.
            input_size_hw: Height and width in pixels that the file must have; None takes any.
            num_select: Most detections an image; None is what the file's model was made with.
            runtime: What runs an ONNX file: openvino, or onnxruntime, which auto is too.
            precision: Of OpenVINO's products and convolutions.
            providers: ONNX Runtime execution providers; None is the fastest present.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not a file of ours, the key does not open it, it takes no such batch or
                size, or what runs it is not installed or takes no such options.
        """
        self.path = stored_path(Path(path), encryption_key)
        check_runtime(self.path, runtime, precision)
        network: Network
        if is_engine(self.path):
            from ddetr_export.tensorrt import EngineNetwork

            network = EngineNetwork(self.path, encryption_key)
        else:
            content = read_model(self.path, encryption_key, "ONNX file")
            opener = session_opener(runtime, precision, providers)
            network = OnnxNetwork(content, self.path, opener)
        self._network = network
        self.metadata = network.metadata  # what the file says about itself
        self.providers = network.providers  # what runs it, first choice first
        self.notices = network.notices
        self.categories = self.metadata.categories
        self.num_classes = self.metadata.model.get("num_classes")
        self.preprocess_config = _preprocess_config(self.metadata, self.path)
        self.description = f"{self.path.name} runs on {', '.join(self.providers)}"
        for name, number in (("batch_size", batch_size), ("num_select", num_select)):
            if number is not None and number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        self._keep(num_select or self.metadata.model.get("num_select", _DEFAULT_NUM_SELECT))
        self.batch_size = self._choose_batch(batch_size)
        self._check_size(input_size_hw)

    def predict(self, images: Sequence[ImageLike]) -> list[Detections]:
        """Detect in each image; as many results as images, in their order.

        Args:
            images: As `ddetr_data.images.open_image` takes them, of any sizes, or a batch from
                `prepare`.

        Returns:
            Detections in pixels of the original images, best first, at most num_select each.

        Raises:
            FileNotFoundError, ValueError, TypeError: as open_image, or images is a single one.
        """
        results: list[Detections] = []
        for batch in prepared_batches(images, self.batch_size, self.prepare):
            results += self._run(*batch.inputs)
        return results

    def prepare(self, images: Sequence[ImageLike]) -> Prepared:
        """Read, resize and stack the images of one batch; any thread may do it."""
        pixels, sizes_hw = stacked(images, self.preprocess_config)
        return Prepared(images, (filled_up(pixels, self._network.batch_sizes[0]), sizes_hw))

    def keep_enough(self, max_detections: int) -> None:
        """Keep as many detections an image as are scored, if that is more than COCO's 100.

        Args:
            max_detections: Of an image that are scored. A file that selects itself has its number.
        """
        self._keep(raised_num_select(self.num_select, max_detections))

    def _keep(self, num_select: int) -> None:
        self.num_select = num_select
        self.most_detections = min(num_select, self._network.kept or num_select)

    def _run(
        self,
        pixels: FloatArray,  # (B, 3, H, W)
        sizes_hw: NDArray[np.int64],  # (at most B, 2)
    ) -> Iterator[Detections]:
        count = len(sizes_hw)
        if not set(DETECTION_OUTPUTS) <= set(self._network.outputs):
            logits, boxes = self._network.run({"inputs": pixels}, RAW_OUTPUTS)
            self._check_outputs(logits, boxes, len(pixels))
            pair = (logits[:count], boxes[:count])
            ids = self.metadata.class_ids
            yield from select_detections(*pair, sizes_hw, self.num_select, ids)
            return
        sizes = filled_up(sizes_hw.astype(np.float32), len(pixels))
        outputs = self._network.run({"inputs": pixels, "target_sizes": sizes}, DETECTION_OUTPUTS)
        self._check_detections(outputs, len(pixels))
        for boxes, scores, labels in zip(*(each[:count] for each in outputs), strict=True):
            kept = slice(self.num_select)
            found = Detections(boxes[kept], scores[kept], labels[kept].astype(np.int64))
            # Graphs of the first exports gave classes that the table lacks a place.
            yield found.of_classes(self.metadata.class_ids) if self.categories else found

    def _check_outputs(self, logits: FloatArray, boxes: FloatArray, batch: int) -> None:
        """Compare the shapes with (B, Q, C) and (B, Q, 4)."""
        classes = self.num_classes or logits.shape[-1]
        queries = logits.shape[1:2]
        if logits.shape != (batch, *queries, classes) or boxes.shape != (batch, *queries, 4):
            raise ValueError(
                f"{self.path} gives pred_logits {logits.shape} and pred_boxes {boxes.shape} for "
                f"{batch} images of {classes} classes: it is damaged or was changed, export again"
            )

    def _check_detections(self, outputs: Sequence[FloatArray], batch: int) -> None:
        """Compare the shapes with (B, K, 4), (B, K) and (B, K)."""
        shapes = [each.shape for each in outputs]
        kept = (batch, *shapes[1][1:2])
        if shapes != [(*kept, 4), kept, kept]:
            raise ValueError(
                f"{self.path} gives boxes, scores and labels of shapes "
                f"{', '.join(map(str, shapes))} for {batch} images: it is damaged or was changed, "
                "export again"
            )

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

    def _check_size(self, wanted_hw: tuple[int, int] | None) -> None:
        config = self.preprocess_config
        if wanted_hw not in (None, (config.height, config.width)):
            raise ValueError(
                f"{self.path} was exported for input_height {config.height} and input_width "
                f"{config.width}, got {wanted_hw[0]} and {wanted_hw[1]}"
            )


# The name under which each of our packages opens what it runs.
open_detector = OnnxDetector


def _preprocess_config(metadata: ExportMetadata, path: Path) -> PreprocessConfig:
    try:
        return PreprocessConfig(**metadata.preprocess)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ValueError(
            f"{path} was written by ddetr-export {metadata.version}, whose preprocessing this "
            f"version does not know ({key}: {first['msg']}); install that version"
        ) from error
