"""Changing the lists of an ONNX model, such as a graph's nodes and constants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import onnx


def replace_all(field: Any, values: Iterable[Any]) -> None:
    """Replace all values of a repeated field of a protobuf message."""
    kept = list(values)
    del field[:]
    field.extend(kept)


def replace_nodes(
    graph: onnx.GraphProto,
    nodes: Sequence[onnx.NodeProto],
    constants: Iterable[onnx.TensorProto] = (),
) -> None:
    """Replace the graph's nodes, and add constants to its own.

    Constants that no node reads and that are no output are dropped, and so is what the graph
    states of values that no node gives any more.
    """
    used = {name for node in nodes for name in node.input}
    used.update(output.name for output in graph.output)
    made = {name for node in nodes for name in node.output}
    weights = (*graph.initializer, *constants)
    replace_all(graph.node, nodes)
    replace_all(graph.initializer, (each for each in weights if each.name in used))
    replace_all(graph.value_info, [each for each in graph.value_info if each.name in made])
