"""From a PyTorch module to an ONNX model, by the exporter that is right for the opset.

PyTorch has two exporters. The older one writes opset 11 to 17 faithfully; the newer one writes 18
and up, and what it converts down to older opsets is damaged now and then. Both print a lot, which
goes to the log and not to the console.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from ddetr_export.silenced_libraries import hushed

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
    is_newer = opset >= OLDEST_DYNAMO_OPSET
    content = io.BytesIO()
    options = _newer_options if is_newer else _older_options
    with torch.no_grad(), _quiet() as words:
        program = torch.onnx.export(
            graph,
            tuple(examples),
            None if is_newer else content,  # type: ignore[arg-type]
            dynamo=is_newer,
            opset_version=opset,
            input_names=list(signature.inputs),
            output_names=list(signature.outputs),
            optimize=optimize,
            **options(signature, custom_domains),
        )
    for line in words.getvalue().splitlines():
        logger.debug("exporter said: %s", line)
    if not is_newer:
        return onnx.load_from_string(content.getvalue())
    model: onnx.ModelProto = program.model_proto  # type: ignore[union-attr]
    return model


def _older_options(signature: Signature, custom_domains: Sequence[str]) -> dict[str, Any]:
    names = (*signature.inputs, *signature.outputs)
    return {
        "dynamic_axes": {name: {0: "batch"} for name in names} if signature.dynamic_batch else None,
        "custom_opsets": dict.fromkeys(custom_domains, 1),
    }


def _newer_options(signature: Signature, _custom_domains: Sequence[str]) -> dict[str, Any]:
    from ddetr_export.graph._group_norm import group_norm  # needs onnxscript, as this exporter does

    batch = {0: torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)}
    shapes = (batch,) * len(signature.inputs)
    return {
        "dynamic_shapes": shapes if signature.dynamic_batch else None,
        "custom_translation_table": {torch.ops.aten.group_norm.default: group_norm},
        "verbose": False,
    }


@contextlib.contextmanager
def _quiet() -> Iterator[io.StringIO]:
    """Keep what the exporters print, warn and log off the console; yields what they printed."""
    with (
        warnings.catch_warnings(),
        hushed(dict.fromkeys(_TALKATIVE_LOGGERS, logging.CRITICAL)) as words,
        contextlib.redirect_stderr(words),
    ):
        warnings.simplefilter("ignore")
        yield words
