"""The TensorRT plugin's meaning in standard operators, as a function inside the ONNX file.

A runtime that knows the plugin runs the plugin; any other runs this body. It is generic in every
size but the number of heads and uses only operators that mean the same from opset 11 to 23, without
changed signatures. One head is sampled after the other: all of them would need 700 MB at once on
an image of 960 x 544.

N images, S pixels of all levels together, Q queries, M heads, D channels a head,
L feature levels, P sampling points a level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

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


def plugin_function(opset: int, heads: int) -> onnx.FunctionProto:
    """Build the function; its output is (N, Q, M, D).

    Args:
        opset: That of the model which takes the function in; they must be the same.
        heads: M of all its plugin nodes.
    """
    import onnx.parser

    text = f"""
        <opset_import: ["" : {opset}], domain: "{PLUGIN_DOMAIN}">
        {PLUGIN_OP} <{", ".join(PLUGIN_ATTRIBUTES)}> ({", ".join(PLUGIN_INPUTS)}) => (output)
        {{{_SIZES}{_places()}{_CORNERS}{_heads(heads)}}}
    """
    return onnx.parser.parse_function(text)


# Text form of ONNX. Axes of two or four numbers are slow to broadcast over: x and y are tensors of
# their own, levels and points share one axis of LP places.
_SIZES = """
    zero = Constant <value = int64 {0}> ()
    one = Constant <value = int64 {1}> ()
    two = Constant <value = int64 {2}> ()
    zero_f = Constant <value = float {0.0}> ()
    half_f = Constant <value = float {0.5}> ()
    one_f = Constant <value = float {1.0}> ()
    rest_1 = Constant <value = int64[1] {-1}> ()
    column = Constant <value = int64[2] {-1, 1}> ()
    N_M_Q_LP = Constant <value = int64[4] {0, 0, 0, -1}> ()
    value_shape = Shape (value)
    N = Gather (value_shape, zero)
    S = Gather (value_shape, one)
    M = Gather (value_shape, two)
    D_1 = Constant <value = int64[1] {3}> ()
    D = Gather (value_shape, D_1)
    table_shape = Concat <axis = 0> (rest_1, D)
    value_by_head = Transpose <perm = [0, 2, 1, 3]> (value)
    table = Reshape (value_by_head, table_shape)
    locations_shape = Shape (sampling_locations)
    L_P_index = Constant <value = int64[2] {3, 4}> ()
    L_P = Gather (locations_shape, L_P_index)
    locations = Transpose <perm = [0, 2, 1, 3, 4, 5]> (sampling_locations)
    weights_by_head = Transpose <perm = [0, 2, 1, 3, 4]> (attention_weights)
    weights = Reshape (weights_by_head, N_M_Q_LP)
    sizes_hw = Cast <to = 1> (spatial_shapes)
    starts_flat = Cast <to = 1> (level_start_index)
    starts_column = Reshape (starts_flat, column)
    starts_expanded = Expand (starts_column, L_P)
    starts = Reshape (starts_expanded, rest_1)
"""
# The two pixels around each place on one axis, both inside the level: next to an edge and outside
# they are the two at that edge, and a share is what is left of 1 after the distance, if anything.
# A level of one pixel has no second one.
_PLACES = """
    {a}_index = Constant <value = int64 {{{index}}}> ()
    {a}_split = Gather <axis = 5> (locations, {a}_index)
    {a} = Reshape ({a}_split, N_M_Q_LP)
    {a}_axis = Constant <value = int64 {{{axis}}}> ()
    {a}_sizes_flat = Gather <axis = 1> (sizes_hw, {a}_axis)
    {a}_sizes_column = Reshape ({a}_sizes_flat, column)
    {a}_sizes_expanded = Expand ({a}_sizes_column, L_P)
    {a}_sizes = Reshape ({a}_sizes_expanded, rest_1)
    {a}_last = Sub ({a}_sizes, one_f)
    {a}_has_second = Min ({a}_last, one_f)
    {a}_before_last = Sub ({a}_last, {a}_has_second)
    {a}_scaled = Mul ({a}, {a}_sizes)
    {a}_position = Sub ({a}_scaled, half_f)
    {a}_floor = Floor ({a}_position)
    {a}_below = Min ({a}_floor, {a}_before_last)
    {a}_first = Max ({a}_below, zero_f)
    {a}_after = Sub ({a}_position, {a}_first)
    {a}_distance = Abs ({a}_after)
    {a}_left_over = Sub (one_f, {a}_distance)
    {a}_share_0 = Relu ({a}_left_over)
    {a}_after_second = Sub ({a}_after, one_f)
    {a}_second_distance = Abs ({a}_after_second)
    {a}_second_left_over = Sub (one_f, {a}_second_distance)
    {a}_second_share = Relu ({a}_second_left_over)
    {a}_share_1 = Mul ({a}_second_share, {a}_has_second)
"""
# Four times all places, one corner after the other: pixels and what they weigh.
_CORNERS = """
    row_start = Mul (y_first, x_sizes)
    in_level = Add (row_start, x_first)
    in_image = Add (in_level, starts)
    corner_00 = Cast <to = 6> (in_image)
    right = Cast <to = 6> (x_has_second)
    below_f = Mul (y_has_second, x_sizes)
    below = Cast <to = 6> (below_f)
    right_below = Add (right, below)
    corner_01 = Add (corner_00, right)
    corner_10 = Add (corner_00, below)
    corner_11 = Add (corner_00, right_below)
    corners_in_image = Concat <axis = 3> (corner_00, corner_01, corner_10, corner_11)
    tables = Mul (N, M)
    table_index = Range (zero, tables, one)
    table_start = Mul (table_index, S)
    table_start_32 = Cast <to = 6> (table_start)
    M_1 = Reshape (M, rest_1)
    N_M_1_1_end = Constant <value = int64[2] {1, 1}> ()
    N_M_1_1 = Concat <axis = 0> (rest_1, M_1, N_M_1_1_end)
    table_starts = Reshape (table_start_32, N_M_1_1)
    corners = Add (corners_in_image, table_starts)
    upper = Mul (weights, y_share_0)
    lower = Mul (weights, y_share_1)
    share_00 = Mul (upper, x_share_0)
    share_01 = Mul (upper, x_share_1)
    share_10 = Mul (lower, x_share_0)
    share_11 = Mul (lower, x_share_1)
    shares = Concat <axis = 3> (share_00, share_01, share_10, share_11)
    N_Q_1_rest = Constant <value = int64[4] {0, 0, 1, -1}> ()
"""
_HEAD = """
    index_{m} = Constant <value = int64 {{{m}}}> ()
    corners_{m} = Gather <axis = 1> (corners, index_{m})
    samples_{m} = Gather (table, corners_{m})
    shares_flat_{m} = Gather <axis = 1> (shares, index_{m})
    shares_{m} = Reshape (shares_flat_{m}, N_Q_1_rest)
    sum_{m} = MatMul (shares_{m}, samples_{m})
"""


def _places() -> str:
    return "".join(
        _PLACES.format(a=name, index=index, axis=axis)
        for name, index, axis in (("x", 0, 1), ("y", 1, 0))  # spatial_shapes has the height first
    )


def _heads(count: int) -> str:
    sums = ", ".join(f"sum_{m}" for m in range(count))  # (N, Q, 1, D) each
    each = "".join(_HEAD.format(m=m) for m in range(count))
    return f"{each}    output = Concat <axis = 2> ({sums})\n"
