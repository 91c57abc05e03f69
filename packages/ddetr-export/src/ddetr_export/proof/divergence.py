"""The first part of a network whose output in the exported file differs from PyTorch's.

N images, H, W the file's input size.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from ddetr_export.onnx import open_on_cpu
from ddetr_export.postprocessing import FloatArray


def first_divergence(
    graph: nn.Module,
    exported: onnx.ModelProto,
    images: FloatArray,  # (N, 3, H, W)
    tolerance: float,
) -> str | None:
    """Name the module, in the order they run, whose output is the first to differ.

    Args:
        graph: What was traced.
        exported: What came of it; its nodes are named /module/part/Operator.
        images: Input to both.
        tolerance: Largest difference that counts as none, as a part of the output's largest value
            where that is above 1: deep in a backbone values may be large.

    Returns:
        "module (ONNX node)", or None where the nodes' names tell nothing or nothing differs.
    """
    expected = _module_outputs(graph, images)
    nodes = _last_nodes(exported, expected)
    if not nodes:
        return None
    found = _values(exported, [node.output[0] for node in nodes.values()], images)
    for name, value in expected.items():
        if name in nodes:
            other = found[nodes[name].output[0]]
            if other.shape == value.shape and not _error(other, value) <= tolerance:
                return f"{name} ({nodes[name].name})"
    return None


def _error(found: FloatArray, expected: FloatArray) -> float:
    return float(np.abs(found - expected).max() / max(1, np.abs(expected).max()))


def _module_outputs(graph: nn.Module, images: FloatArray) -> dict[str, FloatArray]:
    """The output of each module that gives one tensor, in the order they finish."""
    outputs: dict[str, FloatArray] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                outputs.setdefault(name, output.numpy().copy())  # later layers work in place

        return hook

    named = [(name.removeprefix("model."), module) for name, module in graph.named_modules()]
    hooks = [module.register_forward_hook(keep(name)) for name, module in named if name]
    with torch.no_grad():
        graph(torch.from_numpy(images))
    for each in hooks:
        each.remove()
    return outputs


def _last_nodes(exported: onnx.ModelProto, modules: Mapping[str, Any]) -> dict[str, onnx.NodeProto]:
    """The last node that each module left in the graph; a node is named /module/part/Operator.

    A module that ends in a convolution is left out: the batch norm after it is folded into that.
    """
    last: dict[str, onnx.NodeProto] = {}
    for node in exported.graph.node:
        for name in _modules_of(node, modules):
            last[name] = node
    return {name: node for name, node in last.items() if node.op_type != "Conv"}


def _modules_of(node: onnx.NodeProto, modules: Mapping[str, Any]) -> Iterator[str]:
    """The modules around a node, outermost first; a part's name may repeat those before it."""
    around = [""]
    for part in node.name.strip("/").split("/")[:-1]:
        names = (f"{outer}.{part}".strip(".") for outer in reversed(around))
        name = next((each for each in names if each in modules), None)
        if name is not None:
            yield name
        around.append(name if name is not None else f"{around[-1]}.{part}".strip("."))


def _values(
    exported: onnx.ModelProto, names: list[str], images: FloatArray
) -> dict[str, FloatArray]:
    """Run the model, with inner values as further outputs, and give those by name."""
    probe = copy.deepcopy(exported)
    known = {each.name for each in probe.graph.output}
    wanted = list(dict.fromkeys(names))
    probe.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in wanted if name not in known
    )
    session = open_on_cpu(probe, "the probe")
    values = session.run({"inputs": images}, wanted)
    return dict(zip(wanted, values, strict=True))
