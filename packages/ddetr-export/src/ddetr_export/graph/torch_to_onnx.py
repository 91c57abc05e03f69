"""From a PyTorch model to a complete ONNX model, which is not compared with it yet.

B images, H, W the input size, Q queries, C classes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx
import torch

from ddetr_export.config import OLDEST_GRID_SAMPLE_OPSET, ExportConfig
from ddetr_export.graph._attention import Sampler
from ddetr_export.graph._plugin_node import plugin_sampler
from ddetr_export.graph.export_graph import ExportGraph
from ddetr_export.graph.sampling import sample_by_gather, sample_by_grid
from ddetr_export.graph.tracing import OLDEST_DYNAMO_OPSET, Signature, trace_to_onnx
from ddetr_export.onnx import (
    PLUGIN_DOMAIN,
    RAW_OUTPUTS,
    ExportMetadata,
    complete_plugin_nodes,
    fold_constants,
    loading_problem,
    sizes_of,
    standard_opset,
    write_metadata,
)
from ddetr_export.report import ExportError
from ddetr_model import DeformableDETR, parts_from_outside

_SCOPES_NOTE = "pkg.torch.onnx.name_scopes"  # the newer exporter's note of a node's modules


def make_draft(
    model: DeformableDETR, config: ExportConfig, metadata: ExportMetadata
) -> tuple[ExportGraph, onnx.ModelProto]:
    """Trace the model in float32, with metadata and without a plugin's body.

    Returns:
        What was traced, and what came of it.

    Raises:
        ValueError: the input size is too small for the model, or a part from outside needs a plain
            form and has none.
        ExportError: the exporter wrote another opset than the one asked for, or cannot write a part
            from outside.
    """
    height, width = config.input_height, config.input_width
    graph = ExportGraph(model, (height, width))
    graph.set_sampler(choose_sampler(config))
    example = torch.zeros(_traced_batch(config), 3, height, width)
    for optimize in (True, False):  # the newer exporter's optimiser breaks some files
        with _own_parts_named(model):
            exported = trace_to_onnx(
                graph,
                [example],
                Signature(("inputs",), RAW_OUTPUTS, dynamic_batch=config.batch_size == -1),
                config.opset_version,
                optimize=optimize,
                custom_domains=() if config.on_cpu else (PLUGIN_DOMAIN,),
            )
        if (found := standard_opset(exported)) != (wanted := config.opset_version):
            raise ExportError(f"asked for opset {wanted}, the exporter wrote {found}")
        _name_by_module(exported)
        _drop_exporters_notes(exported)
        _state_shapes(exported, graph.output_shapes())
        fold_constants(exported)
        if not config.on_cpu:
            complete_plugin_nodes(exported, graph.attention_queries(), graph.attention_heads)
        write_metadata(exported, metadata)
        exported.producer_name, exported.producer_version = "ddetr-export", metadata.version
        is_older = config.opset_version < OLDEST_DYNAMO_OPSET
        if is_older or not config.on_cpu or loading_problem(exported, "the draft") is None:
            break
    return graph, exported


def _traced_batch(config: ExportConfig) -> int:
    """Images of the example: the fewest, since tracing runs the network on them.

    The newer exporter takes a batch of 1 for a constant.
    """
    if config.batch_size != -1:
        return config.batch_size
    return 2 if config.opset_version >= OLDEST_DYNAMO_OPSET else 1


def choose_sampler(config: ExportConfig) -> Sampler:
    """Pick plugin nodes, GridSample or gathers.

    GridSample is one operator a level, but came with opset 16 only; gathers work at every opset,
    so older files have them.
    """
    if not config.on_cpu:
        return plugin_sampler(config.opset_version, config.plugin_version)
    may_use_grid = config.opset_version >= OLDEST_GRID_SAMPLE_OPSET
    by_grid = config.sampling == "grid" or (config.sampling == "auto" and may_use_grid)
    return sample_by_grid if by_grid else sample_by_gather


@contextmanager
def _own_parts_named(model: DeformableDETR) -> Iterator[None]:
    """Name the parts from outside in the error of an exporter; stock parts alone never fail."""
    try:
        yield
    except Exception as error:  # an exporter raises what its parts raise, of no common class
        own = [f"{part} ({kind})" for part, kind in parts_from_outside(model).items()]
        if not own:
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(
            f"{', '.join(own)} cannot be written as ONNX: {reason}; an export_form(forms) can give "
            "the same in other operators"
        ) from error


def _name_by_module(exported: onnx.ModelProto) -> None:
    """Name the newer exporter's nodes as the older one does: /module/part/Operator."""
    for number, node in enumerate(exported.graph.node):
        notes = {each.key: each.value for each in node.metadata_props}
        scopes: list[str] = ast.literal_eval(notes.get(_SCOPES_NOTE, "[]"))
        modules = [each.removeprefix("model.") for each in scopes[1:-1]]
        if modules:
            outer = ["", *(f"{each}." for each in modules)]
            parts = [each.removeprefix(above) for above, each in zip(outer, modules, strict=False)]
            node.name = f"/{'/'.join(parts)}/{node.op_type}_{number}"


def _drop_exporters_notes(exported: onnx.ModelProto) -> None:
    """Remove the notes on where each node came from: half of a small file, with private paths."""
    for node in exported.graph.node:
        node.ClearField("doc_string")
    graph = exported.graph
    for noted in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        del noted.metadata_props[:]


def _state_shapes(
    exported: onnx.ModelProto,
    shapes: Sequence[tuple[int, ...]],  # of the outputs, without the batch
) -> None:
    batch, *_ = sizes_of(exported.graph.input[0])
    for output, shape in zip(exported.graph.output, shapes, strict=True):
        kind = output.type.tensor_type.elem_type
        output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, kind, [batch, *shape]))
