"""Deformable attention's sampling as one TensorRT plugin node.

B images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from ddetr_export.graph._attention import Sampler
from ddetr_export.graph.sampling import sample_by_grid
from ddetr_export.graph.tracing import OLDEST_DYNAMO_OPSET
from ddetr_export.onnx import PLUGIN_DOMAIN, PLUGIN_OP


def plugin_sampler(opset: int, plugin_version: str) -> Sampler:
    """Make a sampler that the exporter of this opset turns into a plugin node.

    TensorRT's parser reads the two attributes; `plugin_namespace` has to be there although it is
    empty, or newer parsers prefer a function of the same name to the plugin.
    """
    emit = _emit_dynamo if opset >= OLDEST_DYNAMO_OPSET else _PluginNode.apply

    def sample(
        value: Tensor,  # (B, S, M, D)
        shapes_hw: Sequence[tuple[int, int]],  # L of them
        x: Tensor,  # (B, Q, M, L * P)
        y: Tensor,  # (B, Q, M, L * P)
        weights: Tensor,  # (B, Q, M, L * P)
    ) -> Tensor:  # (B, Q, M * D)
        areas = [height * width for height, width in shapes_hw]
        starts = list(accumulate(areas[:-1], initial=0))
        queries, heads, num_samples = map(int, x.shape[1:])  # num_samples is L * P
        channels, levels = int(value.shape[3]), len(shapes_hw)
        sizes = (queries, heads, levels, num_samples // levels)
        output = emit(
            value,
            torch.tensor(shapes_hw, dtype=torch.int32),
            torch.tensor(starts, dtype=torch.int32),
            torch.stack([x, y], dim=-1).reshape(-1, *sizes, 2),
            weights.reshape(-1, *sizes),
            plugin_version,
            (queries, heads, channels),
        )  # (B, Q, M, D)
        return output.reshape(-1, queries, heads * channels)

    return sample


def _emit_dynamo(*arguments: Any) -> Tensor:
    *inputs, plugin_version, sizes = arguments
    value = inputs[0]
    return torch.onnx.ops.symbolic(
        f"{PLUGIN_DOMAIN}::{PLUGIN_OP}",
        inputs,
        attrs={"plugin_version": plugin_version, "plugin_namespace": ""},
        dtype=value.dtype,
        shape=(value.shape[0], *sizes),
        version=1,
    )


class _PluginNode(torch.autograd.Function):
    """A function that the older exporter writes as one plugin node, by its method `symbolic`."""

    @staticmethod
    def forward(
        _context: Any,
        value: Tensor,
        spatial_shapes: Tensor,
        _level_start_index: Tensor,
        sampling_locations: Tensor,
        attention_weights: Tensor,
        _plugin_version: str,
        _sizes: tuple[int, int, int],  # Q, M, D
    ) -> Tensor:
        """Compute what the plugin would, since tracing runs the network once; (B, Q, M, D)."""
        shapes_hw = [(height, width) for height, width in spatial_shapes.tolist()]
        x, y = (each.flatten(3) for each in sampling_locations.unbind(-1))
        output = sample_by_grid(value, shapes_hw, x, y, attention_weights.flatten(3))
        return output.reshape(*output.shape[:2], *value.shape[2:])

    @staticmethod
    def symbolic(graph: Any, *arguments: Any) -> Any:
        """Add the plugin node to the exporter's graph, and state its output as (B, Q, M, D)."""
        *inputs, plugin_version, sizes = arguments
        output = graph.op(
            f"{PLUGIN_DOMAIN}::{PLUGIN_OP}",
            *inputs,
            plugin_version_s=plugin_version,
            plugin_namespace_s="",
        )
        return output.setType(inputs[0].type().with_sizes([None, *sizes]))
