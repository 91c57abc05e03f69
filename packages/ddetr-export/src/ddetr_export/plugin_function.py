"""The TensorRT plugin's meaning in standard operators, as a function inside the ONNX file.

A runtime that knows the plugin runs the plugin; any other runs this body. It is generic in every
size and uses only operators that mean the same from opset 12 to 23, without changed signatures.

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


def plugin_function(opset: int) -> onnx.FunctionProto:
    """Build the function; its output is (N, Q, M, D).

    Args:
        opset: That of the model which takes the function in; they must be the same.
    """
    import onnx.parser

    text = f"""
        <opset_import: ["" : {opset}], domain: "{PLUGIN_DOMAIN}">
        {PLUGIN_OP} <{", ".join(PLUGIN_ATTRIBUTES)}> ({", ".join(PLUGIN_INPUTS)}) => (output)
        {{{_SIZES}{_POSITIONS}{_corners()}{_SUM}}}
    """
    return onnx.parser.parse_function(text)


# Text form of ONNX. The levels lie one after the other in value's rows, so that no operator has
# to loop over them: a place's row is ((image * S) + level start + y * width + x) * M + head.
_SIZES = """
    zero = Constant <value = int64 {0}> ()
    one = Constant <value = int64 {1}> ()
    two = Constant <value = int64 {2}> ()
    three = Constant <value = int64 {3}> ()
    value_shape = Shape (value)
    N = Gather (value_shape, zero)
    S = Gather (value_shape, one)
    M = Gather (value_shape, two)
    D_1 = Constant <value = int64[1] {3}> ()
    D = Gather (value_shape, D_1)
    locations_shape = Shape (sampling_locations)
    N_Q_M_index = Constant <value = int64[3] {0, 1, 2}> ()
    N_Q_M = Gather (locations_shape, N_Q_M_index)
    one_1 = Constant <value = int64[1] {1}> ()
    rest_1 = Constant <value = int64[1] {-1}> ()
    weights_shape = Concat <axis = 0> (N_Q_M, one_1, rest_1)
    rows_shape = Concat <axis = 0> (N_Q_M, rest_1, D)
    output_shape = Concat <axis = 0> (N_Q_M, D)
    table_shape = Concat <axis = 0> (rest_1, D)
    table = Reshape (value, table_shape)
"""
_POSITIONS = """
    half = Constant <value = float {0.5}> ()
    one_f = Constant <value = float {1.0}> ()
    zero_f = Constant <value = float {0.0}> ()
    x_y = Constant <value = int64[2] {1, 0}> ()
    sizes_hw = Cast <to = 1> (spatial_shapes)
    sizes_xy_flat = Gather <axis = 1> (sizes_hw, x_y)
    L_1_2 = Constant <value = int64[3] {-1, 1, 2}> ()
    sizes_xy = Reshape (sizes_xy_flat, L_1_2)
    last_xy = Sub (sizes_xy, one_f)
    scaled = Mul (sampling_locations, sizes_xy)
    positions = Sub (scaled, half)
    corner_0 = Floor (positions)
    corner_1 = Add (corner_0, one_f)
    share_after = Sub (positions, corner_0)
    share_before = Sub (one_f, share_after)
    L_1 = Constant <value = int64[2] {-1, 1}> ()
    widths_flat = Gather <axis = 1> (sizes_hw, one)
    widths = Reshape (widths_flat, L_1)
    starts_flat = Cast <to = 1> (level_start_index)
    starts = Reshape (starts_flat, L_1)
    images_flat = Range (zero, N, one)
    N_1_1_1_1 = Constant <value = int64[5] {-1, 1, 1, 1, 1}> ()
    images = Reshape (images_flat, N_1_1_1_1)
    image_rows = Mul (images, S)
    heads_flat = Range (zero, M, one)
    M_1_1 = Constant <value = int64[3] {-1, 1, 1}> ()
    heads = Reshape (heads_flat, M_1_1)
"""
# One of the two pixels on each axis; a pixel outside the level is moved inside and weighs zero.
_AXIS = """
    below_{i} = Min (corner_{i}, last_xy)
    inside_{i} = Max (below_{i}, zero_f)
    is_inside_{i} = Equal (inside_{i}, corner_{i})
    counts_{i} = Cast <to = 1> (is_inside_{i})
    share_{i} = Mul (counts_{i}, {share})
    x_{i} = Gather <axis = 5> (inside_{i}, zero)
    y_{i} = Gather <axis = 5> (inside_{i}, one)
    share_x_{i} = Gather <axis = 5> (share_{i}, zero)
    share_y_{i} = Gather <axis = 5> (share_{i}, one)
"""
_CORNER = """
    row_start_{x}{y} = Mul (y_{y}, widths)
    in_level_{x}{y} = Add (row_start_{x}{y}, x_{x})
    in_image_{x}{y} = Add (in_level_{x}{y}, starts)
    pixel_{x}{y} = Cast <to = 7> (in_image_{x}{y})
    pixel_row_{x}{y} = Add (pixel_{x}{y}, image_rows)
    first_head_{x}{y} = Mul (pixel_row_{x}{y}, M)
    row_{x}{y} = Add (first_head_{x}{y}, heads)
    flat_row_{x}{y} = Reshape (row_{x}{y}, rest_1)
    flat_sample_{x}{y} = Gather (table, flat_row_{x}{y})
    samples_{x}{y} = Reshape (flat_sample_{x}{y}, rows_shape)
    corner_share_{x}{y} = Mul (share_x_{x}, share_y_{y})
    weight_{x}{y} = Mul (corner_share_{x}{y}, attention_weights)
    weights_{x}{y} = Reshape (weight_{x}{y}, weights_shape)
    sum_{x}{y} = MatMul (weights_{x}{y}, samples_{x}{y})
"""
_SUM = """
    total = Sum (sum_00, sum_01, sum_10, sum_11)
    output = Reshape (total, output_shape)
"""


def _corners() -> str:
    axes = _AXIS.format(i=0, share="share_before") + _AXIS.format(i=1, share="share_after")
    return axes + "".join(_CORNER.format(x=x, y=y) for x in (0, 1) for y in (0, 1))
