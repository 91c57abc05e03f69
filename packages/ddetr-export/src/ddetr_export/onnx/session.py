"""A loaded ONNX file, whatever runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]
Shape = Sequence[int | str | None]  # a name or None for an axis of any size


class Session(Protocol):
    """A loaded file: what it says about itself, and how to run it."""

    properties: Mapping[str, str]  # its metadata_props
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    providers: tuple[str, ...]  # what runs it, first choice first
    notices: tuple[str, ...]  # what the person who waits should know

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Give the outputs by name, each with the batch first."""
        ...
