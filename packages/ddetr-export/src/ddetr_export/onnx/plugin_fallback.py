"""The TensorRT plugin's computation in standard operators, as a function inside the ONNX file.

A runtime that knows the plugin runs the plugin; any other runs this body. It is generic in every
size but the number of heads and uses only operators that mean the same from opset 11 to 23, without
changed signatures. One head is sampled after the other: all of them would need 700 MB at once on
an image of 960 x 544.

N images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from ddetr_export.onnx.node_writer import NodeWriter

PLUGIN_OP = "MultiscaleDeformableAttnPlugin_TRT"
PLUGIN_DOMAIN = "nvidia"
PLUGIN_INPUTS = (
    "value",  # (N, S, M, D)
    "spatial_shapes",  # (L, 2) int32, height then width
    "level_start_index",  # (L,) int32
    "sampling_locations",  # (N, Q, M, L, P, 2), x then y
    "attention_weights",  # (N, Q, M, L, P)
)
PLUGIN_ATTRIBUTES = ("plugin_version", "plugin_namespace")
_N_M_Q_LP = [0, 0, 0, -1]  # for Reshape


def plugin_function(opset: int, heads: int) -> onnx.FunctionProto:
    """Build the function; its output is (N, Q, M, D).

    Args:
        opset: That of the model which takes the function in; they must be the same.
        heads: M of all its plugin nodes.
    """
    op = NodeWriter()
    _write_body(op, heads)
    return helper.make_function(
        PLUGIN_DOMAIN,
        PLUGIN_OP,
        PLUGIN_INPUTS,
        ["output"],
        op.nodes,
        [helper.make_opsetid("", opset)],
        PLUGIN_ATTRIBUTES,
    )


# Axes of two or four numbers are slow to broadcast over: x and y are tensors of their own, levels
# and points have one axis of LP sampling points.
def _write_body(op: NodeWriter, heads: int) -> None:
    shape = op.Shape("value")
    images, pixels, num_heads = (op.Gather(shape, axis) for axis in range(3))
    rows = op.Concat([-1], op.Gather(shape, [3]), axis=0)
    table = op.Reshape(op.Transpose("value", perm=[0, 2, 1, 3]), rows)  # (N * M * S, D)
    level_and_point = op.Gather(op.Shape("sampling_locations"), [3, 4])
    locations = op.Transpose("sampling_locations", perm=[0, 2, 1, 3, 4, 5])
    weights = op.Reshape(op.Transpose("attention_weights", perm=[0, 2, 1, 3, 4]), _N_M_Q_LP)
    sizes_hw = op.Cast("spatial_shapes", to=TensorProto.FLOAT)

    def at_points(of_levels: str) -> str:
        """Repeat one number a level for each of its points, (LP)."""
        return op.Reshape(op.Expand(op.Reshape(of_levels, [-1, 1]), level_and_point), [-1])

    x, y = (
        _Axis(
            op,
            op.Reshape(op.Gather(locations, index, axis=5), _N_M_Q_LP),
            at_points(op.Gather(sizes_hw, 1 - index, axis=1)),  # which have the height first
        )
        for index in (0, 1)
    )
    starts = at_points(op.Cast("level_start_index", to=TensorProto.FLOAT))
    in_image = op.Add(op.Add(op.Mul(y.first, x.sizes), x.first), starts)
    # Pixels and weights of the four corners: all points' top left ones first, then the top right.
    # Indices are int32 as in an export without plugin: TensorRT before 10 has no int64.
    top_left = op.Cast(in_image, to=TensorProto.INT32)
    right = op.Cast(x.has_second, to=TensorProto.INT32)
    below = op.Cast(op.Mul(y.has_second, x.sizes), to=TensorProto.INT32)
    steps = (right, below, op.Add(right, below))
    corners_in_image = op.Concat(top_left, *(op.Add(top_left, step) for step in steps), axis=3)
    table_start = op.Mul(op.Range(0, op.Mul(images, num_heads), 1), pixels)
    table_start = op.Cast(table_start, to=TensorProto.INT32)
    per_head = op.Concat([-1], op.Reshape(num_heads, [-1]), [1, 1], axis=0)
    corners = op.Add(corners_in_image, op.Reshape(table_start, per_head))
    row_weights = [op.Mul(weights, each) for each in y.weights]
    corner_weights = op.Concat(
        *(op.Mul(row, each) for row in row_weights for each in x.weights), axis=3
    )
    sums = []
    for head in range(heads):
        samples = op.Gather(table, op.Gather(corners, head, axis=1))  # (N, Q, 4 * LP, D)
        of_head = op.Reshape(op.Gather(corner_weights, head, axis=1), [0, 0, 1, -1])
        sums.append(op.MatMul(of_head, samples))  # (N, Q, 1, D)
    op.Concat(*sums, axis=2, outputs=("output",))


class _Axis:
    """The two pixels around each sampling point on one axis, both inside the level.

    Next to an edge and outside they are the two at that edge. A weight is 1 less the distance in
    pixels, and 0 from there on. A level of one pixel has no second one.
    """

    def __init__(
        self,
        op: NodeWriter,
        locations: str,  # (N, M, Q, LP), 0 to 1 inside the image
        sizes: str,  # (LP), of the points' levels in pixels
    ) -> None:
        last = op.Sub(sizes, 1.0)
        position = op.Sub(op.Mul(locations, sizes), 0.5)
        self.sizes = sizes
        self.has_second = op.Min(last, 1.0)
        before_last = op.Sub(last, self.has_second)
        self.first = op.Max(op.Min(op.Floor(position), before_last), 0.0)
        after = op.Sub(position, self.first)
        first_weight, second_weight = (
            op.Relu(op.Sub(1.0, op.Abs(distance))) for distance in (after, op.Sub(after, 1.0))
        )
        self.weights = (first_weight, op.Mul(second_weight, self.has_second))
