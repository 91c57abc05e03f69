"""Half precision written into the file, since TensorRT 11 no longer lowers it on its own.

Sampling locations, the sampling itself, soft-max, norms and box refinement stay at 32 bit: a
half-precision coordinate is off by up to 0.06 pixels on a wide map, and the 1e-5 of box refinement
is below the smallest normal half. So do inputs and outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ddetr_export.layer_rules import LayerRule
from ddetr_export.onnx._model_edits import replace_nodes

_NORMS = frozenset({"InstanceNormalization", "GroupNormalization"})
_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv"})
# Their output's type is not that of their input; pairs of 8 bit have scales at 32 bit.
_TYPED = frozenset(
    {"Cast", "Constant", "ConstantOfShape", "Range", "Resize", "Shape"}
    | {"QuantizeLinear", "DequantizeLinear"}
)
_LARGEST_HALF = float(np.finfo(np.float16).max)


def to_fp16(
    model: onnx.ModelProto, *, by_default: bool = True, rules: Sequence[LayerRule] = ()
) -> onnx.ModelProto:
    """Bring the backbone and all products with weights to 16-bit floats.

    Args:
        model: In 32 bit, or with 8-bit convolutions.
        by_default: Halve at all; else only what rules say.
        rules: Exceptions by the nodes' names, the last that matches wins.

    Returns:
        A new model of the same inputs and outputs; weights beyond the range of a half are cut
        to its largest.

    Raises:
        ValueError: a rule names no node, or wants 8 bit, which needs calibration.
    """
    halved = copy.deepcopy(model)
    indices = _halved_nodes(halved.graph) if by_default else set()
    names = [node.name for node in halved.graph.node]
    for rule in rules:
        if rule.format == "int8":
            raise ValueError(f"layers_precision {rule.pattern}:int8 needs data_type INT8")
        named = set(rule.indices(names)) - _typed_nodes(halved.graph)
        indices = indices | named if rule.format == "fp16" else indices - named
    _Halving(halved, indices).run()
    return halved


def _typed_nodes(graph: onnx.GraphProto) -> set[int]:
    return {index for index, node in enumerate(graph.node) if node.op_type in _TYPED}


def _halved_nodes(graph: onnx.GraphProto) -> set[int]:
    """Indices of the nodes that compute in half: those before the projections' norms, products."""
    maker = {name: index for index, node in enumerate(graph.node) for name in node.output}
    weights = {each.name for each in graph.initializer}
    norms = {index for index, node in enumerate(graph.node) if node.op_type in _NORMS}
    backbone: set[int] = set()
    waiting = list(norms)
    while waiting:
        sources = {maker[name] for name in graph.node[waiting.pop()].input if name in maker}
        waiting += sources - backbone
        backbone |= sources
    products = {
        index
        for index, node in enumerate(graph.node)
        if node.op_type in _PRODUCTS and weights.intersection(node.input)
    }
    return (backbone | products) - norms - _typed_nodes(graph)


class _Halving:
    """One pass over a graph; a value may exist as a float, as a half, or as both."""

    def __init__(self, model: onnx.ModelProto, indices: set[int]) -> None:
        self.indices = indices  # of the nodes that compute in half
        self.graph = model.graph
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = (*inferred.input, *inferred.value_info, *inferred.output)
        self.floats = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
        self.weights = {each.name: each for each in self.graph.initializer}
        self.as_half: dict[str, str] = {}  # float value -> its half
        self.absent: set[str] = set()  # float values that so far exist as halves alone

    def run(self) -> None:
        nodes: list[NodeProto] = []
        for index, node in enumerate(self.graph.node):
            nodes += self._halve(node) if index in self.indices else self._restore(node.input)
            nodes.append(node)
        nodes += self._restore(output.name for output in self.graph.output)
        replace_nodes(self.graph, nodes)

    def _halve(self, node: NodeProto) -> Iterator[NodeProto]:
        """Let the node read and write halves; yields the casts it needs before it."""
        for index, name in enumerate(node.input):
            if name in self.as_half:
                node.input[index] = self.as_half[name]
            elif name in self.weights:
                if self.weights[name].data_type == TensorProto.FLOAT:
                    node.input[index] = self._half_weight(name)
            elif name in self.floats:
                node.input[index] = self.as_half[name] = f"{name}_fp16"
                yield _cast(name, f"{name}_fp16", TensorProto.FLOAT16)
        for index, name in enumerate(node.output):
            if name in self.floats:
                node.output[index] = self.as_half[name] = f"{name}_fp16"
                self.absent.add(name)

    def _half_weight(self, name: str) -> str:
        values = numpy_helper.to_array(self.weights[name])
        half = np.clip(values, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
        self.graph.initializer.append(numpy_helper.from_array(half, f"{name}_fp16"))
        self.as_half[name] = f"{name}_fp16"
        return f"{name}_fp16"

    def _restore(self, names: Iterable[str]) -> Iterator[NodeProto]:
        """Yield the casts that make floats again of halves that a 32-bit node reads."""
        for name in names:
            if name in self.absent:
                self.absent.discard(name)
                yield _cast(self.as_half[name], name, TensorProto.FLOAT)


def _cast(source: str, target: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"Cast_{target}", to=to)
