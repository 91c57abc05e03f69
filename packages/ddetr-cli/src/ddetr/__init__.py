"""Deformable DETR from Python: train, evaluate, export, and detect with what came out.

    import ddetr

    run = ddetr.train("spec.yaml")
    found = run.load().predict("image.jpg")

A name alone: all of it is `ddetr_cli.from_python`, which is loaded on first use.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "Evaluation",
    "InputError",
    "Model",
    "Training",
    "evaluate",
    "export",
    "inference",
    "load",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ddetr_cli import from_python

    return getattr(from_python, name)


def __dir__() -> list[str]:
    return __all__
