"""Checks that a graph holds only operators and types that TensorRT's ONNX parser takes.

Written from the operator table of the public onnx-tensorrt parser; no parser ran here.
"""

from __future__ import annotations

from collections import Counter

import onnx
from onnx import TensorProto

from ddetr_export.onnx.plugin_fallback import PLUGIN_DOMAIN, PLUGIN_OP

_OPERATOR_TABLE = """
Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat Constant
ConstantOfShape Conv ConvTranspose Cos CumSum DequantizeLinear Div Dropout Einsum Elu Equal Erf
Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish
Identity InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
MatMul Max MaxPool Mean Min Mod Mul Neg Not Or PRelu Pad Pow QuantizeLinear Range Reciprocal
ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Resize Round
Shape Sigmoid Sign Sin Size Slice Softmax Softplus SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh
Tile TopK Transpose Unsqueeze Where Xor
"""
TENSORRT_OPERATORS = frozenset(_OPERATOR_TABLE.split())


def operator_problems(model: onnx.ModelProto) -> list[str]:
    """Name operators, types and free sizes that TensorRT would refuse; empty where there are none.

    Control flow, sizes that depend on the pixels (NonZero), scatters and 64-bit floats are among
    what the list does not have.
    """
    counts = Counter[str]()
    for node in model.graph.node:
        known = node.domain in ("", "ai.onnx") and node.op_type in TENSORRT_OPERATORS
        if not known and (node.domain, node.op_type) != (PLUGIN_DOMAIN, PLUGIN_OP):
            name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            counts[name] += 1
    problems = [f"operator {name} ({count} times)" for name, count in counts.items()]
    problems += [
        f"constant {each.name} has 64-bit floats"
        for each in model.graph.initializer
        if each.data_type == TensorProto.DOUBLE
    ]
    problems += [
        f"{value.name} has a free size at axis {axis}; only the batch may be free"
        for value in (*model.graph.input, *model.graph.output)
        for axis, size in enumerate(value.type.tensor_type.shape.dim)
        if axis and not size.dim_value
    ]
    return problems
