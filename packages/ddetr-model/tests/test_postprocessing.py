"""From logits and relative boxes to detections, by hand."""

import importlib
import pkgutil
from types import ModuleType

import pytest
import torch

import ddetr_model
from ddetr_model import LayerOutput, postprocess


def test_best_pair_comes_first_in_pixels():
    """Query 1, class 2 wins; its box is scaled by the image's own width and height."""
    logits = torch.full((1, 2, 3), -4.0)
    logits[0, 1, 2] = 2.0
    boxes = torch.tensor([[[0.2, 0.2, 0.1, 0.1], [0.5, 0.5, 0.2, 0.4]]])
    outputs = LayerOutput(logits, boxes)
    (found,) = postprocess(outputs, torch.tensor([[100, 200]]), num_select=2)
    assert found["labels"][0].item() == 2
    assert found["scores"][0].item() == pytest.approx(0.8808, abs=1e-4)
    assert found["boxes_xyxy"][0].tolist() == pytest.approx([80.0, 30.0, 120.0, 70.0], abs=1e-4)


@pytest.mark.parametrize(("num_select", "kept"), [(1, 1), (4, 4), (100, 6)])
def test_at_most_every_pair_is_kept(num_select, kept):
    """Two queries of three classes are six pairs, however many are asked for."""
    outputs = LayerOutput(torch.randn(2, 2, 3), torch.rand(2, 2, 4))
    found = postprocess(outputs, torch.tensor([[10, 10], [20, 20]]), num_select)
    assert [len(image["scores"]) for image in found] == [kept, kept]
    assert found[0]["labels"].dtype == torch.int64


def test_no_module_takes_the_place_of_a_public_name():
    """Importing a module sets an attribute of its package, which would hide a function there."""
    for module in pkgutil.walk_packages(ddetr_model.__path__, "ddetr_model."):
        importlib.import_module(module.name)
    public = {name: getattr(ddetr_model, name) for name in ddetr_model.__all__}
    assert [name for name, value in public.items() if isinstance(value, ModuleType)] == []
    assert ddetr_model.postprocess is postprocess


def test_a_class_that_nobody_named_is_never_detected():
    """It takes no place of the best either, and the raw outputs stay as they are."""
    # fault 29
    logits = torch.tensor([[[9.0, 1.0, 8.0, 0.0], [7.0, 3.0, 9.0, 2.0]]])
    outputs = LayerOutput(logits.clone(), torch.rand(1, 2, 4))
    (found,) = postprocess(outputs, torch.tensor([[10, 10]]), 3, class_ids=(3, 1))
    assert found["labels"].tolist() == [1, 3, 1]
    torch.testing.assert_close(found["scores"], torch.tensor([3.0, 2.0, 1.0]).sigmoid())
    (all_pairs,) = postprocess(outputs, torch.tensor([[10, 10]]), 100, class_ids=(3, 1))
    assert len(all_pairs["scores"]) == 4
    (unknown,) = postprocess(outputs, torch.tensor([[10, 10]]), 2, class_ids=())
    assert unknown["labels"].tolist() == [0, 2]
    assert torch.equal(outputs.pred_logits, logits)
