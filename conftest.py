"""What tests need that run side by side, in the processes of pytest-xdist."""

from __future__ import annotations

import os
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are taken; set before PyTorch is loaded
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_sessionstart() -> None:
    """Let autograd begin before anything compiles: else forks of this process cannot use it.

    PyTorch asks for its devices once, at the first backward pass, and those that its compiler
    brings along would have threads, which no fork has.
    """
    import torch

    torch.ones(1, requires_grad=True).sum().backward()


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Any:
    """Escape what UTF-8 cannot hold: a test of such file names may show them in its output."""
    return _escaped((yield))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_escaped(each) for each in value)
    return value
