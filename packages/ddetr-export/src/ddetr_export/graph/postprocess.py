"""Post-processing inside the ONNX file: boxes in pixels, scores and labels as outputs.

B images, Q queries, C classes, K detections kept.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

MOST_TENSORRT_SELECTS = 3840  # TensorRT's TopK keeps no more
POSTPROCESS_INPUT = "target_sizes"
POSTPROCESS_OUTPUTS = ("boxes", "scores", "labels")

# Text form of ONNX; {queries}, {classes} and {kept} are numbers. Sigmoid, the best K of all pairs
# of query and class, corners, pixels. A label is the pair's number less query * C.
_NODES = """
    postprocess (float[B, {queries}, {classes}] pred_logits, float[B, {queries}, 4] pred_boxes,
                 float[B, 2] target_sizes)
        => (float[B, {kept}, 4] boxes, float[B, {kept}] scores, int32[B, {kept}] labels) {{
        pp_flat = Constant <value = int64[2] {{-1, {pairs}}}> ()
        pp_kept = Constant <value = int64[1] {{{kept}}}> ()
        pp_classes = Constant <value = int64 {{{classes}}}> ()
        pp_column = Constant <value = int64[3] {{-1, {kept}, 1}}> ()
        pp_row = Constant <value = int64[3] {{-1, 1, 4}}> ()
        pp_first = Constant <value = int64[2] {{0, 1}}> ()
        pp_last = Constant <value = int64[2] {{2, 3}}> ()
        pp_w_h_w_h = Constant <value = int64[4] {{1, 0, 1, 0}}> ()
        pp_half = Constant <value = float {{0.5}}> ()
        pp_probabilities = Sigmoid (pred_logits)
        pp_pairs = Reshape (pp_probabilities, pp_flat)
        scores, pp_best = TopK <axis = 1> (pp_pairs, pp_kept)
        pp_query = Div (pp_best, pp_classes)
        pp_first_pair = Mul (pp_query, pp_classes)
        pp_label = Sub (pp_best, pp_first_pair)
        labels = Cast <to = 6> (pp_label)
        pp_center = Gather <axis = 2> (pred_boxes, pp_first)
        pp_size = Gather <axis = 2> (pred_boxes, pp_last)
        pp_half_size = Mul (pp_size, pp_half)
        pp_top_left = Sub (pp_center, pp_half_size)
        pp_bottom_right = Add (pp_center, pp_half_size)
        pp_corners = Concat <axis = 2> (pp_top_left, pp_bottom_right)
        pp_query_column = Reshape (pp_query, pp_column)
        pp_index = Concat <axis = 2> (pp_query_column, pp_query_column, pp_query_column,
                                      pp_query_column)
        pp_picked = GatherElements <axis = 1> (pp_corners, pp_index)
        pp_sizes = Gather <axis = 1> (target_sizes, pp_w_h_w_h)
        pp_scale = Reshape (pp_sizes, pp_row)
        boxes = Mul (pp_picked, pp_scale)
    }}
"""


def append_postprocess(model: onnx.ModelProto, num_select: int) -> None:
    """Replace the outputs pred_logits and pred_boxes, in place, by detections.

    The file gets a second input, target_sizes (B, 2) float32, height and width of each original
    image, and the outputs boxes (B, K, 4) xyxy in its pixels, scores (B, K) and labels (B, K)
    int32, best first. K is num_select, or Q * C where that is less.

    Raises:
        ValueError: num_select is more than TensorRT can keep.
    """
    import onnx.parser

    if num_select > MOST_TENSORRT_SELECTS:
        raise ValueError(
            f"post-processing in the graph keeps at most {MOST_TENSORRT_SELECTS} detections "
            f"(TensorRT's limit), got num_select {num_select}"
        )
    logits = model.graph.output[0].type.tensor_type.shape.dim
    batch, queries, classes = logits[0], logits[1].dim_value, logits[2].dim_value
    kept = min(num_select, queries * classes)
    text = _NODES.format(queries=queries, classes=classes, pairs=queries * classes, kept=kept)
    tail = onnx.parser.parse_graph(text)
    length = batch.dim_param or batch.dim_value
    model.graph.node.extend(tail.node)
    model.graph.input.append(
        helper.make_tensor_value_info(POSTPROCESS_INPUT, TensorProto.FLOAT, [length, 2])
    )
    model.graph.value_info.extend(model.graph.output)
    del model.graph.output[:]
    for output in tail.output:
        output.type.tensor_type.shape.dim[0].CopyFrom(batch)
    model.graph.output.extend(tail.output)
