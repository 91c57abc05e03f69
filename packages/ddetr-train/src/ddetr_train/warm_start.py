"""Whole-model weights to start from, matched by name and reported."""

from __future__ import annotations

from pathlib import Path

from ddetr_model.checkpoint import LoadReport, load_pretrained
from ddetr_model.detector import DeformableDETR

_NAMES_SHOWN = 3


def start_from(model: DeformableDETR, path: Path) -> str:
    """Load the tensors that fit and say in one sentence which did and which did not.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no checkpoint, or not one of this architecture.
    """
    return describe(load_pretrained(model, path), path)


def describe(report: LoadReport, path: Path) -> str:
    """Count the tensors by what became of them, naming the first of each kind."""
    parts = [f"loaded {len(report.loaded)} tensors of {path}"]
    kinds = (
        ("missing in the file", report.missing),
        ("unknown to the model", report.unexpected),
        ("of another shape and started anew", report.mismatched),
    )
    for words, names in kinds:
        if names:
            more = ", ..." if len(names) > _NAMES_SHOWN else ""
            parts.append(f"{len(names)} {words} ({', '.join(names[:_NAMES_SHOWN])}{more})")
    return "; ".join(parts)
