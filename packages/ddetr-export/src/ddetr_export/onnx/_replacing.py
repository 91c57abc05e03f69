"""Putting other entries into the lists of a model, in place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import onnx


def replace_all(field: Any, values: Iterable[Any]) -> None:
    """Let a repeated field of a protobuf message hold these values alone."""
    kept = list(values)
    del field[:]
    field.extend(kept)


def replace_nodes(
    graph: onnx.GraphProto,
    nodes: Sequence[onnx.NodeProto],
    constants: Iterable[onnx.TensorProto] = (),
) -> None:
    """Let the graph have these nodes and, beside its own, these constants.

    What no node reads and no output gives is dropped, and what is stated of values that are gone.
    """
    used = {name for node in nodes for name in node.input}
    used.update(output.name for output in graph.output)
    made = {name for node in nodes for name in node.output}
    weights = (*graph.initializer, *constants)
    replace_all(graph.node, nodes)
    replace_all(graph.initializer, (each for each in weights if each.name in used))
    replace_all(graph.value_info, [each for each in graph.value_info if each.name in made])
