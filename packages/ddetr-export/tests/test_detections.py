"""Post-processing in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from ddetr_export.postprocessing import select_detections, to_xyxy

LOGITS = np.array([[[0.0, 2.0], [1.0, -1.0]]], np.float32)  # two queries, two classes
BOXES = np.array([[[0.5, 0.5, 1.0, 0.5], [0.25, 0.25, 0.5, 0.5]]], np.float32)
SIZES_HW = np.array([[100, 200]])


def test_best_pairs_of_query_and_class_come_first() -> None:
    """The top-k runs over all pairs, so one query can give two classes."""
    (found,) = select_detections(LOGITS, BOXES, SIZES_HW, num_select=3)
    assert found.labels.tolist() == [1, 0, 0]
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp([-2.0, -1.0, 0.0])), rtol=1e-6)
    np.testing.assert_allclose(
        found.boxes_xyxy, [[0, 25, 200, 75], [0, 0, 100, 50], [0, 25, 200, 75]]
    )


def test_more_than_all_pairs_are_never_kept() -> None:
    """A num_select above queries x classes gives every pair once."""
    (found,) = select_detections(LOGITS, BOXES, SIZES_HW, num_select=50)
    assert len(found) == 4


def test_extreme_logits_stay_finite() -> None:
    """Very large logits give scores of 0 and 1 without a warning."""
    logits = np.array([[[1e4, -1e4]]], np.float32)
    with np.errstate(all="raise", under="ignore"):
        (found,) = select_detections(logits, BOXES[:, :1], SIZES_HW, num_select=2)
    np.testing.assert_allclose(found.scores, [1, 0], atol=1e-30)


def test_what_is_no_number_comes_first() -> None:
    """It would be the last of all otherwise, and cut off unseen."""
    logits = np.array([[[0.5, np.nan]]], np.float32)
    (found,) = select_detections(logits, BOXES[:, :1], SIZES_HW, num_select=1)
    assert np.isnan(found.scores).all()


def test_corners_surround_the_centre() -> None:
    """Centre and size become left, top, right, bottom."""
    np.testing.assert_allclose(to_xyxy(np.array([4.0, 3.0, 2.0, 6.0])), [3, 0, 5, 6])


def test_a_class_that_nobody_named_is_never_detected() -> None:
    """It takes no place of the best either."""
    # fault 29
    (found,) = select_detections(LOGITS, BOXES, SIZES_HW, num_select=2, class_ids=(1,))
    assert found.labels.tolist() == [1, 1]
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp([-2.0, 1.0])), rtol=1e-6)


@pytest.mark.parametrize("class_ids", [(), (1, 2, 3, 6), (4,), (5, 0)])
def test_equal_to_the_model_packages_postprocess(class_ids) -> None:
    """The torch-free selection gives what ddetr_model gives, whatever classes there are."""
    torch = pytest.importorskip("torch")
    model = pytest.importorskip("ddetr_model")
    outputs = model.LayerOutput(torch.randn(3, 40, 7), torch.rand(3, 40, 4))
    sizes_hw = torch.tensor([[480, 640], [37, 51], [1080, 1920]])
    expected = model.postprocess(outputs, sizes_hw, 100, class_ids)
    found = select_detections(
        outputs.pred_logits.numpy(), outputs.pred_boxes.numpy(), sizes_hw.numpy(), 100, class_ids
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.boxes_xyxy, theirs["boxes_xyxy"], rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(ours.scores, theirs["scores"], rtol=1e-5)
        np.testing.assert_array_equal(ours.labels, theirs["labels"])
