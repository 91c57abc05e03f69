"""Making a graph smaller without changing what it computes.

Nodes that depend on no input are computed now and become constants; nodes that lead to no output
are dropped; equal constants are kept once. The older exporter leaves a thousand such nodes in a
whole model. TensorRT's plugin takes sizes as constants alone, and a file should not depend on how
much a runtime folds by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from ddetr_export.onnx._model_edits import replace_nodes

Array = NDArray[np.generic]

_MOST_ELEMENTS = 2**24  # in the constants of one operator; larger ones are left to the runtime
_NEVER_CONSTANT = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "QuantizeLinear"}
)


def fold_constants(model: onnx.ModelProto) -> None:
    """Fold the model itself; a graph with control flow in it stays as it is."""
    graph = model.graph
    if any(_has_subgraph(node) for node in graph.node):
        return  # the nodes of a branch read values of the graph around it, which are not seen here
    weights = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    folded: dict[str, Array] = {}
    kept = []
    # Values that a node reads or the graph gives; an evaluator may not know the others.
    used = {name for node in graph.node for name in node.input}
    used.update(output.name for output in graph.output)
    for node in graph.node:
        outputs = [name for name in node.output if name in used]
        if not outputs:
            continue
        values = _evaluate(node, outputs, weights, folded, model.opset_import)
        if values is None:
            kept.append(node)
        else:
            folded.update(zip(outputs, values, strict=True))
    kept = _reachable(kept, [output.name for output in graph.output])
    _read_equal_once(kept, folded)
    constants = (numpy_helper.from_array(value, name) for name, value in folded.items())
    replace_nodes(graph, kept, constants)


def _has_subgraph(node: NodeProto) -> bool:
    return any(
        each.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for each in node.attribute
    )


def _evaluate(
    node: NodeProto,
    outputs: list[str],
    weights: Mapping[str, Array],
    folded: Mapping[str, Array],
    opsets: Iterable[onnx.OperatorSetIdProto],
) -> list[Array] | None:
    """Compute those outputs; None where they depend on an input, are random or are too large.

    QuantizeLinear is never computed: its pair with DequantizeLinear is what runtimes look for.
    """
    if node.domain or node.op_type in _NEVER_CONSTANT:
        return None
    names = [name for name in node.input if name]
    known = {name: folded.get(name, weights.get(name)) for name in names}
    inputs = {name: value for name, value in known.items() if value is not None}
    if len(inputs) < len(known) or sum(each.size for each in inputs.values()) > _MOST_ELEMENTS:
        return None
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [onnx.helper.make_empty_tensor_value_info(name) for name in inputs],
        [onnx.helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    one = onnx.helper.make_model(graph, opset_imports=list(opsets))
    return [np.asarray(value) for value in ReferenceEvaluator(one).run(None, inputs)]


def _reachable(nodes: list[NodeProto], outputs: Iterable[str]) -> list[NodeProto]:
    """Give the nodes that an output depends on, in their order."""
    wanted = set(outputs)
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _read_equal_once(nodes: list[NodeProto], folded: Mapping[str, Array]) -> None:
    """Let nodes that read equal constants read the first of them."""
    first: dict[tuple[object, ...], str] = {}
    for node in nodes:
        for index, name in enumerate(node.input):
            if name in folded:
                value = folded[name]
                key = (value.dtype.str, value.shape, value.tobytes())
                node.input[index] = first.setdefault(key, name)
