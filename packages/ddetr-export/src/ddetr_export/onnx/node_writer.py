"""ONNX nodes written as calls: `op.Mul(a, 0.5)` adds a node and gives the name of its output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class NodeWriter:
    """Collects nodes: every method name is an operator, and takes and gives the names of values.

    A number or a list of numbers instead of a name becomes a constant: int64, or float32.
    """

    def __init__(self, prefix: str = "") -> None:
        """Begin the name of every value with prefix."""
        self.nodes: list[onnx.NodeProto] = []
        self._prefix = prefix
        self._constants: dict[str, str] = {}  # names of the constants, by their text

    def __getattr__(self, operator: str) -> Callable[..., str]:
        def add(*inputs: Any, outputs: tuple[str, ...] = (), **attributes: Any) -> str:
            names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
            found = outputs or (f"{self._prefix}{operator}_{len(self.nodes)}",)
            self.nodes.append(helper.make_node(operator, names, list(found), **attributes))
            return found[0]

        return add

    def _constant(self, number: Any) -> str:
        key = repr(number)
        if key not in self._constants:
            array = np.array(number)
            kind = np.float32 if array.dtype.kind == "f" else np.int64
            self._constants[key] = self.Constant(value=numpy_helper.from_array(array.astype(kind)))
        return self._constants[key]
