"""Convolutions in 8 bit, written into the file as QuantizeLinear and DequantizeLinear pairs.

N images, H, W the file's input size.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import onnx

from ddetr_export.detections import FloatArray
from ddetr_export.plugin_function import PLUGIN_DOMAIN


def to_int8(
    source: Path,
    target: Path,
    images: FloatArray,  # (N, 3, H, W), preprocessed
) -> None:
    """Quantize the convolutions of source with ranges found on images; writes target.

    Weights get a scale a channel, activations one a tensor, both symmetric, as TensorRT wants.
    Everything else stays at 32 bit.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with _hushed():
        quantize_static(
            source,
            target,
            _Images(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True},
        )
    model = onnx.load(target)
    domains = {node.domain for node in model.graph.node}
    kept = [each for each in model.opset_import if each.domain in {"", PLUGIN_DOMAIN} | domains]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    target.write_bytes(model.SerializeToString())


class _Images:
    """Feeds images one by one, in the way ONNX Runtime's calibration asks for them."""

    def __init__(self, images: FloatArray) -> None:
        self._next = iter(images)

    def get_next(self) -> dict[str, FloatArray] | None:
        image = next(self._next, None)
        return None if image is None else {"inputs": image[None]}

    def __iter__(self) -> Iterator[dict[str, FloatArray]]:
        return iter(self.get_next, None)

    def __next__(self) -> dict[str, FloatArray]:
        feed = self.get_next()
        if feed is None:
            raise StopIteration
        return feed


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep advice on further tools off the console; errors pass."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
