"""The comparison of two networks, and the checks on a file."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ddetr_data.types import Detections
from ddetr_export.onnx import fold_constants, operator_problems
from ddetr_export.proof import agreement, compare

IMAGES = np.random.default_rng(2).normal(size=(3, 3, 8, 8)).astype(np.float32)


def network(error: float = 0.0, *, only_in_batches: bool = False):
    """A network of one query and two classes, whose logits may be off."""

    def run(images):
        mean = images.mean(axis=(1, 2, 3), dtype=np.float64)[:, None, None]
        off = 0.0 if only_in_batches and len(images) == 1 else error
        logits = np.concatenate([mean + off, -mean], axis=2).astype(np.float32)
        return logits, np.full((len(images), 1, 4), 0.5, np.float32)

    return run


def test_equal_networks_have_no_error() -> None:
    """The same numbers give errors of zero, all detections, no problem."""
    found = compare(network(), network(), IMAGES, (1, 3), num_select=2, tolerance=1e-3)
    assert (found.max_error_logits, found.max_error_boxes, found.same_detections) == (0, 0, 1)
    assert found.problems() == ()


def test_an_error_in_batches_alone_is_found() -> None:
    """Each batch size is run, so a file that is right only at batch 1 fails."""
    wrong = network(0.5, only_in_batches=True)
    (problem,) = compare(wrong, network(), IMAGES, (1, 3), num_select=2, tolerance=1e-3).problems()
    assert problem.startswith("ONNX Runtime differs from PyTorch by 0.5 in logits")
    alone = compare(wrong, network(), IMAGES, (1,), num_select=2, tolerance=1e-3)
    assert alone.problems() == ()


def test_nan_is_never_within_the_tolerance() -> None:
    """A file that computes nothing usable does not pass."""
    found = compare(network(np.nan), network(), IMAGES, (1,), num_select=2, tolerance=9.0)
    assert "nan in logits" in found.problems()[0]
    with pytest.raises(ValueError, match="the checkpoint gives NaN"):
        compare(network(), network(np.nan), IMAGES, (1,), num_select=2, tolerance=9.0)


def test_queries_may_come_in_another_order_where_that_is_allowed() -> None:
    """Those that detect are compared with the nearest ones; what none is near to is an error."""
    logits = np.array([[[3, 0], [2, 0], [-5, -6]]], np.float32)
    boxes = np.array([[[0.1] * 4, [0.5] * 4, [0.9] * 4]], np.float32)
    turned = logits[:, [1, 0, 2]] + np.float32(0.01), boxes[:, [1, 0, 2]]
    turned[0][0, 2] = 70  # the last one gives no detection
    settings = {"images": IMAGES[:1], "batch_sizes": (1,), "num_select": 2, "tolerance": 0.1}

    def errors(found, *, any_order):
        comparison = compare(
            lambda _images: found, lambda _images: (logits, boxes), any_order=any_order, **settings
        )
        return comparison.max_error_logits, comparison.max_error_boxes

    assert errors(turned, any_order=True) == (pytest.approx(0.01, abs=1e-5), 0)
    assert errors(turned, any_order=False)[0] > 1
    moved = turned[0], turned[1] + np.float32(0.3)
    assert errors(moved, any_order=True)[1] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("boxes", "scores", "labels", "fraction"),
    [
        ([[0, 0, 10, 10], [5, 5, 9, 9]], [0.9, 0.5], [1, 2], 1.0),
        ([[5, 5, 9, 9], [0, 0, 10, 10]], [0.52, 0.88], [2, 1], 1.0),
        ([[0, 0, 10, 10], [5, 5, 9, 9]], [0.9, 0.5], [1, 1], 0.5),
        ([[0, 0, 10, 8], [5, 5, 9, 9]], [0.9, 0.3], [1, 2], 0.0),
    ],
    ids=["same", "other order", "other label", "other box and score"],
)
def test_agreement_wants_label_box_and_score(boxes, scores, labels, fraction) -> None:
    """A detection counts as found if label, box and score agree, in whatever order."""
    expected = Detections(
        np.array([[0, 0, 10, 10], [5, 5, 9, 9]], np.float32),
        np.array([0.9, 0.5], np.float32),
        np.array([1, 2]),
    )
    found = Detections(np.array(boxes, np.float32), np.array(scores, np.float32), np.array(labels))
    assert agreement(found, expected) == fraction
    assert agreement(found, Detections.empty()) == 1.0


def small_model(*nodes, sizes=("batch", 4), constants=()):
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, sizes) for n in "xy"]
    weights = [numpy_helper.from_array(array, name) for name, array in constants]
    graph = helper.make_graph(list(nodes), "small", values[:1], values[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=8)


def test_what_tensorrt_refuses_is_named() -> None:
    """Foreign operators, 64-bit floats and free sizes are each said."""
    model = small_model(
        helper.make_node("NonZero", ["x"], ["a"]),
        helper.make_node("Special", ["a"], ["y"], domain="mine"),
        sizes=("batch", "width"),
        constants=[("wide", np.ones(2))],
    )
    assert operator_problems(model) == [
        "operator NonZero (1 times)",
        "operator mine::Special (1 times)",
        "constant wide has 64-bit floats",
        "x has a free size at axis 1; only the batch may be free",
        "y has a free size at axis 1; only the batch may be free",
    ]


def test_folding_leaves_what_depends_on_the_input() -> None:
    """Constant branches are computed, dead ones dropped, equal constants kept once."""
    model = small_model(
        helper.make_node("Constant", [], ["two"], value_float=2.0),
        helper.make_node("Mul", ["two", "weight"], ["four"]),
        helper.make_node("Add", ["two", "two"], ["also four"]),
        helper.make_node("Add", ["x", "four"], ["sum"]),
        helper.make_node("Mul", ["sum", "also four"], ["y"]),
        helper.make_node("Sqrt", ["x"], ["nobody reads this"]),
        constants=[("weight", np.float32(2)), ("unused", np.ones(3, np.float32))],
    )
    fold_constants(model)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Add", "Mul"]
    (constant,) = model.graph.initializer
    assert numpy_helper.to_array(constant) == 4


def test_folding_asks_only_for_what_is_read() -> None:
    """A batch norm of weights has outputs that ONNX's own evaluator does not give."""
    constants = {
        "weights": [[[1, 3], [5, 9]]],
        "scale": [1, 1],
        "bias": [0, 0],
        "mean": [2, 7],
        "variance": [1, 4],
    }
    outputs = ["standard", "new_mean", "new_variance", "saved_mean", "saved_variance"]
    model = small_model(
        helper.make_node("BatchNormalization", list(constants), outputs),
        helper.make_node("Abs", ["standard"], ["sizes"]),
        helper.make_node("ReduceSum", ["sizes"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
        constants=[(name, np.array(each, np.float32)) for name, each in constants.items()],
    )
    fold_constants(model)
    assert [node.op_type for node in model.graph.node] == ["Add"]
    (constant,) = model.graph.initializer
    np.testing.assert_allclose(numpy_helper.to_array(constant), 4, atol=1e-4)
