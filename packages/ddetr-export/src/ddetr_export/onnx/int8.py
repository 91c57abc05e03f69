"""Convolutions in 8 bit, written into the file as QuantizeLinear and DequantizeLinear pairs.

N images, H, W the file's input size.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx

from ddetr_export.config import OLDEST_PER_CHANNEL_OPSET
from ddetr_export.onnx._model_edits import replace_all
from ddetr_export.onnx.onnxruntime_session import silence_telemetry
from ddetr_export.onnx.opset_and_sizes import standard_opset
from ddetr_export.onnx.plugin_fallback import PLUGIN_DOMAIN
from ddetr_export.onnx.plugin_file import embed_fallback, plugin_nodes
from ddetr_export.postprocessing import FloatArray
from ddetr_export.silenced_libraries import hushed


def to_int8(
    model: onnx.ModelProto,
    images: FloatArray,  # (N, 3, H, W), preprocessed
) -> onnx.ModelProto:
    """Quantize the convolutions with ranges found on images; everything else stays at 32 bit.

    Weights get a scale a channel, activations one a tensor, both symmetric; biases stay as they
    are, since TensorRT takes no 32-bit ones. A file below opset 13, which has no scales a channel,
    is brought to 13. Plugin nodes stay; the model has their body if it had it before. ONNX
    Runtime's calibration writes the model to a temporary folder, which it removes.

    Returns:
        A new model, or the same where it is quantized already.
    """
    if is_quantized(model):
        return model
    prepared = with_scales_per_channel(model)
    has_body = bool(prepared.functions)
    if any(plugin_nodes(prepared)) and not has_body:
        embed_fallback(prepared)
    quantized = _quantize(prepared, images)
    if not has_body:
        del quantized.functions[:]
    used = {"", PLUGIN_DOMAIN} & {node.domain for node in quantized.graph.node}
    replace_all(quantized.opset_import, (it for it in quantized.opset_import if it.domain in used))
    return quantized


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether the file holds QuantizeLinear nodes already."""
    return any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def with_scales_per_channel(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy the model; below opset 13, the first with a scale for each channel, convert it to 13."""
    import onnx.version_converter

    if standard_opset(model) >= OLDEST_PER_CHANNEL_OPSET:
        return copy.deepcopy(model)
    converted = onnx.version_converter.convert_version(
        copy.deepcopy(model), OLDEST_PER_CHANNEL_OPSET
    )
    if model.functions:
        embed_fallback(converted)
    return converted


def _quantize(model: onnx.ModelProto, images: FloatArray) -> onnx.ModelProto:
    silence_telemetry()
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    # Its advice on further tools stays off the console; errors pass.
    quiet = hushed({"": logging.ERROR})
    with tempfile.TemporaryDirectory(prefix="ddetr-int8-") as folder, quiet:
        target = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            target,
            _Images(images, batch.dim_value or 1),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
            },
        )
        return onnx.load(target)


class _Images:
    """Feeds images in the way ONNX Runtime's calibration asks for them, a run after the other."""

    def __init__(self, images: FloatArray, batch_size: int) -> None:
        """Take images (N, 3, H, W); the last run starts over with the first ones."""
        indices = np.arange(-(-len(images) // batch_size) * batch_size) % len(images)
        self._feeds = ({"inputs": images[run]} for run in indices.reshape(-1, batch_size))

    def get_next(self) -> dict[str, FloatArray] | None:
        return next(self._feeds, None)
