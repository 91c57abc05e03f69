"""ONNX files with plugin nodes: completing them, and turning them into standard ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from ddetr_export.onnx._model_edits import replace_all
from ddetr_export.onnx.digest import seal
from ddetr_export.onnx.model_bytes import load_onnx
from ddetr_export.onnx.model_file import read_model, write_model, written_path
from ddetr_export.onnx.opset_and_sizes import sizes_of, standard_opset
from ddetr_export.onnx.plugin_fallback import PLUGIN_DOMAIN, PLUGIN_OP, plugin_function

_OLDEST_IR_WITH_FUNCTIONS = 8


def plugin_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The plugin nodes of the main graph, in order."""
    return (node for node in model.graph.node if node.op_type == PLUGIN_OP)


def complete_plugin_nodes(
    model: onnx.ModelProto, queries: list[int], heads: tuple[int, int]
) -> None:
    """Add the plugin domain's version and the output shape of each plugin node to the model.

    The exporters do not know what the node gives, and what they guess stops ONNX Runtime.

    Args:
        model: A model with plugin nodes.
        queries: The number of queries of each plugin node, in order.
        heads: Number of heads, and channels of each.
    """
    infos = {each.name: each for each in model.graph.value_info}
    batch, *_ = sizes_of(model.graph.input[0])
    for node, count in zip(plugin_nodes(model), queries, strict=True):
        shape = [batch, count, *heads]
        stated = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, shape)
        if node.output[0] in infos:
            infos[node.output[0]].CopyFrom(stated)
        else:
            model.graph.value_info.append(stated)
    if PLUGIN_DOMAIN not in {each.domain for each in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(PLUGIN_DOMAIN, 1))


def embed_fallback(model: onnx.ModelProto) -> None:
    """Add the plugin's body to the model, for runtimes without the plugin.

    Raises:
        ValueError: the model does not state the shape of what its plugin nodes give.
    """
    model.functions.append(plugin_function(standard_opset(model), _num_heads(model)))
    model.ir_version = max(model.ir_version, _OLDEST_IR_WITH_FUNCTIONS)


def _num_heads(model: onnx.ModelProto) -> int:
    """M of the plugin nodes, whose outputs are stated as (N, Q, M, D)."""
    outputs = {node.output[0] for node in plugin_nodes(model)}
    stated = (*model.graph.value_info, *model.graph.output)
    shapes = [each.type.tensor_type.shape.dim for each in stated if each.name in outputs]
    heads = {dims[2].dim_value if len(dims) == 4 else 0 for dims in shapes}
    if len(shapes) < len(outputs) or len(heads) != 1 or 0 in heads:
        raise ValueError(
            f"the outputs of {PLUGIN_OP} must be stated as (N, Q, M, D) with one number of heads M"
        )
    return heads.pop()


def to_standard(
    plugin_file: str | Path,
    onnx_file: str | Path,
    *,
    encryption_key: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a plugin file again with standard operators only, its metadata kept.

    Returns:
        The file written: onnx_file, with `.enc` behind it where there is a key.

    Raises:
        FileNotFoundError: there is no plugin_file.
        FileExistsError: the file to write is there and overwrite is false.
        ValueError: plugin_file is no ONNX file, has no plugin node, or the key does not open it.
    """
    return prepare_standard(
        plugin_file, onnx_file, encryption_key=encryption_key, overwrite=overwrite
    )()


def prepare_standard(
    plugin_file: str | Path,
    onnx_file: str | Path,
    *,
    encryption_key: str | None = None,
    overwrite: bool = False,
) -> Callable[[], Path]:
    """Make the standard model of a plugin file; the function returned writes it.

    Arguments are those of to_standard.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: as to_standard.
    """
    import onnx.inliner

    source, target = Path(plugin_file), written_path(Path(onnx_file), encryption_key)
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists; give another name or allow to overwrite it")
    model = load_onnx(read_model(source, encryption_key, "ONNX file"), source)
    if not any(plugin_nodes(model)):
        raise ValueError(
            f"{source} has no {PLUGIN_OP} node: it is standard already, give another or keep it"
        )
    if not model.functions:
        embed_fallback(model)
    standard = onnx.inliner.inline_local_functions(model)
    kept = (each for each in standard.opset_import if each.domain != PLUGIN_DOMAIN)
    replace_all(standard.opset_import, kept)
    standard.metadata_props.extend(
        each for each in model.metadata_props if each not in standard.metadata_props
    )
    onnx.checker.check_model(standard)
    content = seal(standard).SerializeToString()

    def write() -> Path:
        write_model(target, content, encryption_key)
        return target

    return write
