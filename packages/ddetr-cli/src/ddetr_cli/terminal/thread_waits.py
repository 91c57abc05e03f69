"""How long PyTorch's threads on the CPU wait for each other before they sleep."""

from __future__ import annotations

import os

__all__ = ["shorten_waits"]

_SPINS = "20000"  # instead of 300,000
_CHOICES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def shorten_waits() -> None:
    """Tell libgomp, which reads this once, when PyTorch is loaded; who has chosen is left alone.

    A thread that waits keeps its core busy. Where other programs want the cores too, the thread
    that it waits for gets none, and training slows down by more than those programs take.
    """
    if not any(name in os.environ for name in _CHOICES):
        os.environ["GOMP_SPINCOUNT"] = _SPINS
