"""Post-processing inside the file."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from ddetr_export import open_detector
from ddetr_export.graph import append_postprocess
from ddetr_export.onnx import operator_problems
from ddetr_export.postprocessing import select_detections


def with_postprocess(path, num_select: int, class_ids=(1, 2)):
    model = onnx.load(path)
    append_postprocess(model, num_select, class_ids)
    onnx.checker.check_model(model, full_check=True)
    changed = path.with_name(f"{path.stem}-{num_select}.onnx")
    changed.write_bytes(model.SerializeToString())
    return changed


@pytest.mark.parametrize("num_select", [4, 100])
def test_the_graph_detects_what_numpy_detects(toy_onnx, num_select) -> None:
    """Boxes, scores and labels of ONNX Runtime equal those of post-processing, at any batch."""
    images = [Image.new("RGB", (50 + 10 * n, 80 - 9 * n), (40 * n, 9, 200)) for n in range(5)]
    plain = open_detector(toy_onnx(), num_select=num_select).predict(images)
    inside = open_detector(
        with_postprocess(toy_onnx(), num_select), num_select=num_select, batch_size=3
    ).predict(images)
    for expected, found in zip(plain, inside, strict=True):
        np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-6)
        np.testing.assert_array_equal(found.labels, expected.labels)


def test_the_file_states_its_new_signature(toy_onnx) -> None:
    """Two inputs, three outputs, only the batch free; TensorRT's parser knows the operators."""
    model = onnx.load(with_postprocess(toy_onnx(), 4))
    assert [each.name for each in model.graph.input] == ["inputs", "target_sizes"]
    shapes = {
        each.name: [axis.dim_param or axis.dim_value for axis in each.type.tensor_type.shape.dim]
        for each in model.graph.output
    }
    assert shapes == {"boxes": ["batch", 4, 4], "scores": ["batch", 4], "labels": ["batch", 4]}
    assert operator_problems(model) == []


def test_more_than_tensorrt_keeps_is_refused(toy_onnx) -> None:
    """TensorRT's top-k has a limit, said before the engine is built."""
    with pytest.raises(ValueError, match="at most 3840"):
        append_postprocess(onnx.load(toy_onnx()), 4000)


@pytest.mark.parametrize("class_ids", [(), (2,), (0, 2), (1, 2), (0, 1, 2)])
def test_a_class_that_nobody_named_is_never_detected(toy_onnx, class_ids) -> None:
    """Nor takes it a place of the best; the file has as many as there are pairs of the others."""
    # fault 29
    path = with_postprocess(toy_onnx(metadata=False), 100, class_ids)
    session = onnxruntime.InferenceSession(path.read_bytes())
    pixels = np.zeros((2, 3, 24, 32), np.float32)
    sizes = np.array([[40, 50], [60, 30]], np.float32)
    boxes, scores, labels = session.run(None, {"inputs": pixels, "target_sizes": sizes})
    raw = onnxruntime.InferenceSession(toy_onnx(metadata=False).read_bytes())
    logits, raw_boxes = raw.run(None, {"inputs": pixels})
    expected = select_detections(logits, raw_boxes, sizes.astype(np.int64), 100, class_ids)
    for row, found in enumerate(expected):
        assert len(found) == 5 * (len(class_ids) or 3)
        np.testing.assert_array_equal(labels[row], found.labels)
        np.testing.assert_allclose(scores[row], found.scores, rtol=1e-6)
        np.testing.assert_allclose(boxes[row], found.boxes_xyxy, rtol=1e-5, atol=1e-4)
    assert operator_problems(onnx.load(path)) == []


def test_an_older_graph_is_filtered_behind_it(toy_onnx) -> None:
    """Files that select among all indices give less, and nothing that has no class."""
    # fault 29
    found, wanted = (
        open_detector(with_postprocess(toy_onnx(), 100, ids), num_select=100).predict(
            [Image.new("RGB", (50, 80))]
        )[0]
        for ids in ((), (1, 2))
    )
    assert found.labels.tolist() == wanted.labels.tolist()
    assert set(found.labels.tolist()) == {1, 2}
