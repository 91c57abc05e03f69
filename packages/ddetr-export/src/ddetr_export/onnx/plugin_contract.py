"""Checks of what TensorRT's plugin expects of its node and does not check itself.

N images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ddetr_export.onnx.plugin_fallback import PLUGIN_ATTRIBUTES, PLUGIN_DOMAIN, PLUGIN_INPUTS
from ddetr_export.onnx.plugin_file import plugin_nodes

_RANKS = {"value": 4, "sampling_locations": 6, "attention_weights": 5}
_FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16)


def plugin_problems(model: onnx.ModelProto) -> list[str]:
    """Name everything about the model's plugin nodes that breaks their contract.

    Returns:
        One sentence a problem; empty where every node is as TensorRT wants it. A size that cannot
        be inferred from the file is a problem too, since the plugin does not check it.
    """
    types = _types(model)
    constants = {each.name: each for each in model.graph.initializer}
    return [
        f"plugin node {node.name or node.output[0]}: {problem}"
        for node in plugin_nodes(model)
        for problem in _node_problems(node, types, constants)
    ]


def _types(model: onnx.ModelProto) -> dict[str, onnx.TypeProto.Tensor]:
    """Types of all values, constants too: with a fixed batch sampling locations may be one."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    types = {
        each.name: each.type.tensor_type
        for each in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    for each in model.graph.initializer:
        stated = helper.make_tensor_type_proto(each.data_type, list(each.dims))
        types[each.name] = stated.tensor_type
    return types


def _node_problems(
    node: NodeProto,
    types: Mapping[str, onnx.TypeProto.Tensor],
    constants: Mapping[str, TensorProto],
) -> Iterator[str]:
    if node.domain != PLUGIN_DOMAIN:
        yield f"domain must be {PLUGIN_DOMAIN}, is {node.domain!r}"
    present = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    for name in PLUGIN_ATTRIBUTES:
        if not isinstance(present.get(name), bytes):
            yield f"attribute {name} must be a string"
    if len(node.input) != len(PLUGIN_INPUTS) or len(node.output) != 1:
        yield f"it must have 5 inputs and 1 output, has {len(node.input)} and {len(node.output)}"
        return
    inputs = dict(zip(PLUGIN_INPUTS, node.input, strict=True))
    yield from _type_problems(inputs, types)
    shapes_hw = _int32_constant(constants.get(inputs["spatial_shapes"]))
    starts = _int32_constant(constants.get(inputs["level_start_index"]))
    if shapes_hw is None or starts is None:
        yield "spatial_shapes and level_start_index must be INT32 initializers"
        return
    yield from _size_problems(node, inputs, types, shapes_hw, starts)


def _type_problems(
    inputs: Mapping[str, str], types: Mapping[str, onnx.TypeProto.Tensor]
) -> Iterator[str]:
    found = {types[inputs[name]].elem_type for name in _RANKS if inputs[name] in types}
    if len(found) > 1 or not found.issubset(_FLOAT_TYPES):
        names = ", ".join(TensorProto.DataType.Name(each) for each in sorted(found))
        yield f"the three float inputs must all be FLOAT or all FLOAT16, are {names}"


def _int32_constant(tensor: TensorProto | None) -> NDArray[np.int32] | None:
    if tensor is None or tensor.data_type != TensorProto.INT32:
        return None
    return numpy_helper.to_array(tensor)


def _size_problems(
    node: NodeProto,
    inputs: Mapping[str, str],
    types: Mapping[str, onnx.TypeProto.Tensor],
    shapes_hw: NDArray[np.int32],  # (L, 2)
    starts: NDArray[np.int32],  # (L,)
) -> Iterator[str]:
    sizes = {name: _fixed_sizes(types.get(inputs[name])) for name in _RANKS}
    for name, rank in _RANKS.items():
        if len(sizes[name]) != rank or None in sizes[name][1:]:
            yield f"{name} must have {rank} known sizes after the batch, has {sizes[name]}"
            return
    _, pixels, heads, channels = sizes["value"]
    _, queries, *_, levels, points, _ = sizes["sampling_locations"]
    areas = shapes_hw.prod(axis=1).tolist()
    if sum(areas) != pixels:
        yield f"spatial_shapes cover {sum(areas)} pixels, value has {pixels}"
    if starts.tolist() != list(accumulate(areas[:-1], initial=0)):
        yield f"level_start_index {starts.tolist()} is not the running sum of {areas}"
    if sizes["sampling_locations"][1:] != [queries, heads, len(areas), points, 2]:
        yield f"sampling_locations must be (N, Q, {heads}, {len(areas)}, P, 2)"
    if sizes["attention_weights"][1:] != [queries, heads, levels, points]:
        yield f"attention_weights must be (N, {queries}, {heads}, {levels}, {points})"
    if _fixed_sizes(types.get(node.output[0]))[1:] != [queries, heads, channels]:
        yield f"the output must be stated as (N, {queries}, {heads}, {channels})"


def _fixed_sizes(tensor: onnx.TypeProto.Tensor | None) -> list[int | None]:
    if tensor is None:
        return []
    return [axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim]
