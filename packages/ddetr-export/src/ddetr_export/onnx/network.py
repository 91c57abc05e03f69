"""An ONNX file in one of its runtimes, behind the protocol that a detector runs.

B images of one run, H, W the file's input size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ddetr_export.onnx.digest import check_digest, check_digest_name
from ddetr_export.onnx.metadata import ExportMetadata
from ddetr_export.onnx.session import Array, Session

RAW_OUTPUTS = ("pred_logits", "pred_boxes")
DETECTION_OUTPUTS = ("boxes", "scores", "labels")


class Network(Protocol):
    """What a detector needs of a file: what it says about itself, and how to run it."""

    metadata: ExportMetadata
    batch_sizes: tuple[int, int | None]  # least and most images of a run; None: any number
    usual_batch: int
    outputs: tuple[str, ...]
    kept: int | None  # detections an image that the graph itself selects; None: it selects none
    providers: tuple[str, ...]
    notices: tuple[str, ...]  # what the person who waits should know

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Give the outputs by name, each with the batch first."""
        ...


class OnnxNetwork:
    """An ONNX file in ONNX Runtime or OpenVINO."""

    def __init__(
        self, content: bytes, path: Path, open_session: Callable[[bytes, str], Session]
    ) -> None:
        """Load the file's bytes with one of `session_opener`.

        Raises:
            ValueError: no ONNX file, a damaged one, one without our metadata, or of other inputs
                and outputs.
        """
        check_digest(content, path)
        self._session = open_session(content, str(path))
        check_digest_name(self._session.properties, path)
        self.metadata = ExportMetadata.from_properties(self._session.properties, str(path))
        inputs, outputs = self._session.inputs, self._session.outputs
        self.outputs = tuple(outputs)
        selected = outputs["scores"][1] if "scores" in outputs else None
        self.kept = selected if isinstance(selected, int) else None
        self.providers = self._session.providers
        self.notices = self._session.notices
        check_signature(path, inputs.get("inputs"), self.outputs, self.metadata)
        batch = inputs["inputs"][0]
        self.batch_sizes: tuple[int, int | None] = (
            (batch, batch) if isinstance(batch, int) else (1, None)
        )
        self.usual_batch = self.batch_sizes[0]

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Give the outputs by name, each with the batch first."""
        return self._session.run(feeds, outputs)


def check_signature(
    path: Path, shape: Sequence[Any] | None, outputs: Sequence[str], metadata: ExportMetadata
) -> None:
    """Check that a file takes the images its metadata describe and gives what detectors read.

    Args:
        path: The file, for the error.
        shape: Of its input `inputs`; None where it has none of that name.
        outputs: Their names.
        metadata: Of the same file.

    Raises:
        ValueError: it does not; the text says what it has.
    """
    size = [metadata.preprocess.get("height"), metadata.preprocess.get("width")]
    if shape is None or list(shape)[1:] != [3, *size]:
        has = "no input named inputs" if shape is None else f"inputs of shape {list(shape)}"
        raise ValueError(
            f"{path} has {has}, its metadata say (batch, 3, {size[0]}, {size[1]}); "
            "export the checkpoint again"
        )
    if not (set(RAW_OUTPUTS) <= set(outputs) or set(DETECTION_OUTPUTS) <= set(outputs)):
        raise ValueError(
            f"{path} has the outputs {', '.join(outputs)}; a detector needs "
            f"{', '.join(RAW_OUTPUTS)} or {', '.join(DETECTION_OUTPUTS)}"
        )


def filled_up(array: Array, length: int) -> Array:
    """Append rows of zeros to an array (B, ...) until it has length rows."""
    missing = max(length - len(array), 0)
    return np.pad(array, [(0, missing), *[(0, 0)] * (array.ndim - 1)])
