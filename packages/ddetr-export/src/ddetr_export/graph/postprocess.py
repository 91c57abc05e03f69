"""Post-processing inside the ONNX file: boxes in pixels, scores and labels as outputs.

B images, Q queries, J classes that may be detected, K detections kept.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx
from onnx import TensorProto, helper

from ddetr_export.onnx import DETECTION_OUTPUTS, NodeWriter, sizes_of
from ddetr_export.postprocessing import detectable_ids

MOST_TENSORRT_SELECTS = 3840  # TensorRT's TopK keeps no more
_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT32)


def append_postprocess(
    model: onnx.ModelProto, num_select: int, class_ids: Collection[int] = ()
) -> None:
    """Replace the outputs pred_logits and pred_boxes of the model by detections.

    The file gets a second input, target_sizes (B, 2) float32, height and width of each original
    image, and the outputs boxes (B, K, 4) xyxy in its pixels, scores (B, K) and labels (B, K)
    int32, best first. K is num_select, or Q * J where that is less. A class that class_ids lacks is
    never detected; empty stands for all.

    Raises:
        ValueError: num_select is more than TensorRT can keep.
    """
    if num_select > MOST_TENSORRT_SELECTS:
        raise ValueError(
            f"post-processing in the graph keeps at most {MOST_TENSORRT_SELECTS} detections "
            f"(TensorRT's limit), got num_select {num_select}"
        )
    length, queries, classes = sizes_of(model.graph.output[0])
    ids = detectable_ids(class_ids, classes).tolist()
    kept = min(num_select, queries * len(ids))
    op = NodeWriter("pp_")
    logits = "pred_logits" if len(ids) == classes else op.Gather("pred_logits", ids, axis=2)
    _write_selection(op, logits, queries * len(ids), ids, kept)
    graph = model.graph
    graph.node.extend(op.nodes)
    graph.input.append(
        helper.make_tensor_value_info("target_sizes", TensorProto.FLOAT, [length, 2])
    )
    graph.value_info.extend(graph.output)
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, kind, [length, kept, *sizes])
        for name, kind, sizes in zip(DETECTION_OUTPUTS, _TYPES, ([4], [], []), strict=True)
    )


def _write_selection(op: NodeWriter, logits: str, pairs: int, ids: list[int], kept: int) -> None:
    """Sigmoid, the best K of all pairs of query and class, corners, pixels."""
    flat = op.Reshape(op.Sigmoid(logits), [-1, pairs])
    op.TopK(flat, [kept], axis=1, outputs=("scores", "pp_best"))
    query = op.Div("pp_best", len(ids))
    column = op.Sub("pp_best", op.Mul(query, len(ids)))  # the pair's number less query * J
    label = column if ids == list(range(len(ids))) else op.Gather(ids, column, axis=0)
    op.Cast(label, to=TensorProto.INT32, outputs=("labels",))
    center = op.Gather("pred_boxes", [0, 1], axis=2)
    half_size = op.Mul(op.Gather("pred_boxes", [2, 3], axis=2), 0.5)
    corners = op.Concat(op.Sub(center, half_size), op.Add(center, half_size), axis=2)
    index = op.Concat(*[op.Reshape(query, [-1, kept, 1])] * 4, axis=2)
    picked = op.GatherElements(corners, index, axis=1)
    w_h_w_h = op.Reshape(op.Gather("target_sizes", [1, 0, 1, 0], axis=1), [-1, 1, 4])
    op.Mul(picked, w_h_w_h, outputs=("boxes",))
