"""From a PyTorch module to an ONNX model, by the exporter that is right for the opset.

PyTorch has two exporters. The older one writes opset 11 to 17 faithfully; the newer one writes 18
and up, and what it converts down is damaged now and then. Both talk a lot: their words go to the
log, not to the console.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx
import torch
from torch import Tensor, nn

OLDEST_DYNAMO_OPSET = 18
_TALKATIVE_LOGGERS = ("torch.onnx", "torch.export", "torch._dynamo", "onnxscript", "onnx_ir")
_LARGEST_BATCH = 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Signature:
    """Names of a model's inputs and outputs; the first axis of each is the batch."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dynamic_batch: bool


def trace_to_onnx(
    graph: nn.Module,
    examples: Sequence[Tensor],
    signature: Signature,
    opset: int,
    *,
    optimize: bool = True,
    custom_domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """Trace graph; nothing is written to the disk.

    Args:
        graph: A module in evaluation mode.
        examples: One tensor an input. With the newer exporter a dynamic batch needs a batch of at
            least 2 in them, since it takes 1 for a constant.
        signature: Names, and whether the batch is dynamic.
        opset: Operator set of the model.
        optimize: Let the newer exporter simplify the graph; the older one always does.
        custom_domains: Operator domains beside the standard one that graph emits.
    """
    trace = _trace_dynamo if opset >= OLDEST_DYNAMO_OPSET else _trace_torchscript
    with torch.no_grad(), _quiet() as words:
        model = trace(graph, tuple(examples), signature, opset, optimize, custom_domains)
    for line in words.getvalue().splitlines():
        logger.debug("exporter said: %s", line)
    return model


def _trace_torchscript(
    graph: nn.Module,
    examples: tuple[Tensor, ...],
    signature: Signature,
    opset: int,
    _optimize: bool,
    custom_domains: Sequence[str],
) -> onnx.ModelProto:
    content = io.BytesIO()
    names = (*signature.inputs, *signature.outputs)
    torch.onnx.export(
        graph,
        examples,
        content,  # type: ignore[arg-type]
        dynamo=False,
        opset_version=opset,
        input_names=list(signature.inputs),
        output_names=list(signature.outputs),
        dynamic_axes={name: {0: "batch"} for name in names} if signature.dynamic_batch else None,
        custom_opsets=dict.fromkeys(custom_domains, 1),
    )
    return onnx.load_from_string(content.getvalue())


def _trace_dynamo(
    graph: nn.Module,
    examples: tuple[Tensor, ...],
    signature: Signature,
    opset: int,
    optimize: bool,
    _custom_domains: Sequence[str],
) -> onnx.ModelProto:
    from ddetr_export.graph._group_norm import group_norm  # needs onnxscript, as this exporter does

    batch = torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)
    program = torch.onnx.export(
        graph,
        examples,
        dynamo=True,
        opset_version=opset,
        input_names=list(signature.inputs),
        output_names=list(signature.outputs),
        dynamic_shapes=tuple({0: batch} for _ in examples) if signature.dynamic_batch else None,
        custom_translation_table={torch.ops.aten.group_norm.default: group_norm},
        optimize=optimize,
        verbose=False,
    )
    model: onnx.ModelProto = program.model_proto  # type: ignore[union-attr]
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[io.StringIO]:
    """Keep what the exporters print, warn and log off the console; yields what they printed."""
    words = io.StringIO()
    levels = {name: logging.getLogger(name).level for name in _TALKATIVE_LOGGERS}
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(words),
        contextlib.redirect_stderr(words),
    ):
        warnings.simplefilter("ignore")
        for name in _TALKATIVE_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            yield words
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
