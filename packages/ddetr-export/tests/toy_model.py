"""A small ONNX file of our kind, made without torch, whose answers are easily told."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ddetr_data.types import Category
from ddetr_export.onnx import ExportMetadata

QUERIES, CLASSES = 5, 3
CATEGORIES = (Category(1, "red cell"), Category(2, "platelet"))


def toy_metadata() -> ExportMetadata:
    """Describe it: two classes, the pixels of its input, four detections an image."""
    preprocess = {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "mode": "fixed",
        "height": 24,
        "width": 32,
    }
    return ExportMetadata(CATEGORIES, preprocess, {"num_select": 4})


def toy_model(batch: int | str) -> onnx.ModelProto:
    """pred_logits = table + mean of the image; pred_boxes = another table."""
    generator = np.random.default_rng(7)
    logits = generator.normal(size=(1, QUERIES, CLASSES)).astype(np.float32)
    boxes = generator.uniform(0.2, 0.8, size=(1, QUERIES, 4)).astype(np.float32)
    constants = {
        "logit_table": logits,
        "box_table": boxes,
        "per_image": np.array([-1, 1, 1], np.int64),
        "zero": np.zeros(1, np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["inputs"], ["mean4"], axes=[1, 2, 3]),
        helper.make_node("Reshape", ["mean4", "per_image"], ["mean"]),
        helper.make_node("Add", ["mean", "logit_table"], ["pred_logits"]),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "box_table"], ["pred_boxes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, [batch, 3, 24, 32])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, QUERIES, last])
            for name, last in (("pred_logits", CLASSES), ("pred_boxes", 4))
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=8)
    onnx.checker.check_model(model)
    return model
