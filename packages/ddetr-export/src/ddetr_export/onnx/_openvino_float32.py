"""What stays in float32 while OpenVINO computes in 16 bits: positions, indices and final boxes.

Eight bits of mantissa hold no index above 256 and no position in a fine level: a detector whose
sampling locations are rounded so finds other things.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Operators whose second input says where they read.
_READERS = ("Gather", "GatherElements", "GatherND", "GridSample")
# Their results are of 16 bits, as in PyTorch's autocast; what is made of them is not.
_PRODUCTS = ("MatMul", "Convolution", "GroupConvolution")
_ENDS = ("Constant", "Parameter", *_PRODUCTS)
# A node with the mark that OpenVINO's own files have for this; Python has no other way to make one.
_MARKED = b"""<?xml version="1.0"?>
<net name="marked" version="11"><layers>
<layer id="0" name="marked" type="Parameter" version="opset1"><data shape="1" element_type="f32"/>
<rt_info><attribute name="precise" version="0"/></rt_info>
<output><port id="0" precision="FP32"><dim>1</dim></port></output></layer>
<layer id="1" name="end" type="Result" version="opset1">
<input><port id="0" precision="FP32"><dim>1</dim></port></input></layer>
</layers><edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges></net>"""


def keep_float32(core: Any, model: Any) -> None:
    """Mark the nodes between products and what reads by position, and those before the outputs.

    Args:
        core: The openvino.Core that compiles the model.
        model: Is changed; without a precision of 16 bits the marks have no effect.

    Raises:
        RuntimeError: this version of OpenVINO has no such mark.
    """
    (marked,) = core.read_model(_MARKED, b"").get_parameters()
    marks = list(marked.get_rt_info().items())
    if not marks:
        raise RuntimeError("this version has no way to keep positions in float32: run it in fp32")
    seen = set()
    waiting = list(_starts(model))
    while waiting:
        node = waiting.pop()
        if node.get_name() in seen or node.get_type_name() in _ENDS:
            continue
        seen.add(node.get_name())
        for key, mark in marks:
            node.set_rt_info(mark, key)
        waiting += [_source(each) for each in node.inputs()]


def _starts(model: Any) -> Iterator[Any]:
    for node in model.get_ops():
        if node.get_type_name() in _READERS:
            yield _source(node.input(1))
        elif node.get_type_name() == "Result":
            yield _source(node.input(0))


def _source(port: Any) -> Any:
    return port.get_source_output().get_node()
