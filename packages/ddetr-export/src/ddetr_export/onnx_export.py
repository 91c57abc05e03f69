"""From a checkpoint to an ONNX file that is known to compute the same.

B images, H, W the input size, Q queries, C classes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import torch

from ddetr_data.preprocess import PreprocessConfig
from ddetr_data.types import Category
from ddetr_export.attention import Sampler
from ddetr_export.check_images import load_images
from ddetr_export.comparison import Comparison, Network, compare
from ddetr_export.config import OLDEST_GRID_SAMPLE_OPSET, ExportConfig
from ddetr_export.folding import fold_constants
from ddetr_export.graph import ExportGraph
from ddetr_export.metadata import ExportMetadata, write_metadata
from ddetr_export.plugin_file import complete_plugin_nodes, embed_fallback
from ddetr_export.plugin_function import PLUGIN_DOMAIN
from ddetr_export.plugin_node import plugin_sampler
from ddetr_export.report import ExportError, ExportReport
from ddetr_export.sampling import sample_by_gather, sample_by_grid
from ddetr_export.session import open_session
from ddetr_export.standard_opset import standard_opset
from ddetr_export.tracing import OLDEST_DYNAMO_OPSET, Signature, trace_to_onnx
from ddetr_model import DeformableDETR, load_checkpoint

if TYPE_CHECKING:
    from ddetr_export.detections import FloatArray

TOLERANCE = 1e-3  # on logits and on boxes; float32 in another order of sums gives about 1e-5
OUTPUTS = ("pred_logits", "pred_boxes")


def export_onnx(
    checkpoint: str | Path,
    onnx_file: str | Path,
    config: ExportConfig,
    *,
    on_progress: Callable[[str], None] | None = None,
) -> ExportReport:
    """Write the checkpoint's model as an ONNX file and compare it with PyTorch.

    Neither a GPU nor a data set is needed. The file appears under its name only when the
    comparison has passed.

    Args:
        checkpoint: A file of `ddetr_model.save_checkpoint` or of a training run.
        onnx_file: Where to write; its folder is made.
        config: Input size, opset, batch and the like.
        on_progress: Called with a few words as each step begins.

    Raises:
        FileNotFoundError: there is no checkpoint.
        FileExistsError: onnx_file is there and config.overwrite is false.
        ValueError: the checkpoint or the wish is unusable.
        ExportError: ONNX Runtime and PyTorch differ by more than 1e-3.
    """
    started = time.perf_counter()
    tell = on_progress or (lambda _step: None)
    target = Path(onnx_file)
    _check_target(target, config)
    tell("reading the checkpoint")
    model = load_checkpoint(checkpoint)
    metadata = describe(model, config)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        draft = Path(folder) / target.name
        tell("tracing the network")
        _write_draft(model, draft, config, metadata)
        tell("comparing ONNX Runtime with PyTorch")
        comparison = _compare(model, draft, config, metadata)
        _insist(comparison, target)
        exported = onnx.load(draft)
        draft.replace(target)
    return ExportReport(
        path=target,
        opset=config.opset_version,
        nodes=len(exported.graph.node),
        megabytes=target.stat().st_size / 1e6,
        max_error_logits=comparison.max_error_logits,
        max_error_boxes=comparison.max_error_boxes,
        seconds=time.perf_counter() - started,
    )


def describe(model: DeformableDETR, config: ExportConfig) -> ExportMetadata:
    """Collect what the file will say about itself.

    A checkpoint without preprocessing gets the usual ImageNet normalisation; the size of the
    image is the exported one, whatever it was in training.
    """
    if model.metadata is None:
        raise ValueError("the model has no metadata; load it with ddetr_model.load_checkpoint")
    known = model.metadata.preprocess or {}
    preprocess = PreprocessConfig(
        **{**known, "mode": "fixed", "height": config.input_height, "width": config.input_width}
    )
    return ExportMetadata(
        categories=tuple(Category(each["id"], each["name"]) for each in model.metadata.categories),
        preprocess=preprocess.model_dump(mode="json"),
        model=model.config.model_dump(mode="json"),
    )


def _check_target(target: Path, config: ExportConfig) -> None:
    if target.is_dir():
        raise ValueError(f"onnx_file must name a file, {target} is a folder")
    if target.exists() and not config.overwrite:
        raise FileExistsError(f"{target} exists; give another onnx_file or export.overwrite=true")


def _write_draft(
    model: DeformableDETR, draft: Path, config: ExportConfig, metadata: ExportMetadata
) -> None:
    graph = ExportGraph(model, (config.input_height, config.input_width))
    graph.set_sampler(_choose_sampler(config))
    dynamic = config.batch_size == -1
    example = torch.zeros(
        2 if dynamic else config.batch_size, 3, config.input_height, config.input_width
    )
    signature = Signature(("inputs",), OUTPUTS, dynamic)
    with torch.no_grad():
        shapes = [tuple(output.shape[1:]) for output in graph(example)]
    for optimize in (True, False):
        trace_to_onnx(
            graph,
            [example],
            draft,
            signature,
            config.opset_version,
            optimize=optimize,
            custom_domains=() if config.on_cpu else (PLUGIN_DOMAIN,),
        )
        _finish(draft, config, metadata, graph, shapes)
        if not optimize or config.opset_version < OLDEST_DYNAMO_OPSET or _loads(draft):
            return


def _choose_sampler(config: ExportConfig) -> Sampler:
    if not config.on_cpu:
        return plugin_sampler(config.opset_version, config.plugin_version)
    if config.sampling == "auto":
        has_grid_sample = config.opset_version >= OLDEST_GRID_SAMPLE_OPSET
        return sample_by_grid if has_grid_sample else sample_by_gather
    return sample_by_grid if config.sampling == "grid" else sample_by_gather


def _loads(draft: Path) -> bool:
    """Whether ONNX Runtime takes the file: the newer exporter's optimiser breaks some."""
    try:
        open_session(draft, ["CPUExecutionProvider"])
    except ValueError:
        return False
    return True


def _finish(
    draft: Path,
    config: ExportConfig,
    metadata: ExportMetadata,
    graph: ExportGraph,
    shapes: Sequence[tuple[int, ...]],  # of the outputs, without the batch
) -> None:
    """Check the opset, write the metadata and drop the exporter's notes, which hold local paths."""
    exported = onnx.load(draft)
    found = standard_opset(exported)
    if found != config.opset_version:
        raise ExportError(f"asked for opset {config.opset_version}, the exporter wrote {found}")
    for node in exported.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    for value in (*exported.graph.value_info, *exported.graph.input, *exported.graph.output):
        del value.metadata_props[:]
    del exported.graph.metadata_props[:]
    for output, shape in zip(exported.graph.output, shapes, strict=True):
        for axis, length in zip(output.type.tensor_type.shape.dim[1:], shape, strict=True):
            axis.dim_value = length
    fold_constants(exported)
    if not config.on_cpu:
        complete_plugin_nodes(exported, graph.attention_queries(), graph.attention_heads)
        if config.embed_fallback:
            embed_fallback(exported)
    write_metadata(exported, metadata)
    exported.producer_name, exported.producer_version = "ddetr-export", metadata.version
    draft.write_bytes(exported.SerializeToString())


def _compare(
    model: DeformableDETR, draft: Path, config: ExportConfig, metadata: ExportMetadata
) -> Comparison:
    images = load_images(
        config.check_image_dir, config.check_images, PreprocessConfig(**metadata.preprocess)
    )
    session = open_session(draft, ["CPUExecutionProvider"])
    fixed_batch = None if config.batch_size == -1 else config.batch_size
    return compare(session, _network(model), images, fixed_batch)


def _network(model: DeformableDETR) -> Network:
    @torch.no_grad()
    def run(images: FloatArray) -> tuple[FloatArray, FloatArray]:
        outputs = model(torch.from_numpy(images))
        return outputs["pred_logits"].numpy(), outputs["pred_boxes"].numpy()

    return run


def _insist(comparison: Comparison, target: Path) -> None:
    if not comparison.max_error <= TOLERANCE:  # NaN is not below it either
        raise ExportError(
            f"{target} was not written: ONNX Runtime differs from PyTorch by "
            f"{comparison.max_error_logits:.2g} in logits and {comparison.max_error_boxes:.2g} in "
            f"boxes, more than {TOLERANCE:g}"
        )
