"""What an export returns or raises."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ddetr_export.proof import Score


class ExportError(RuntimeError):
    """The exported file does not compute what the checkpoint computes; nothing was kept."""


@dataclass(frozen=True)
class ExportReport:
    """One finished export. Errors are the largest absolute differences from PyTorch."""

    path: Path
    opset: int
    nodes: int
    megabytes: float  # 10**6 bytes
    max_error_logits: float
    max_error_boxes: float  # parts of the image, since boxes run from 0 to 1
    seconds: float
    scores: tuple[Score, ...] = ()  # of the file and of PyTorch, where there were labelled images
