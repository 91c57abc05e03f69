"""From logits and relative boxes to detections, by hand."""

import pkgutil
import subprocess
import sys

import pytest
import torch

import ddetr_model
from ddetr_model import postprocess


def test_best_pair_comes_first_in_pixels():
    """Query 1, class 2 wins; its box is scaled by the image's own width and height."""
    logits = torch.full((1, 2, 3), -4.0)
    logits[0, 1, 2] = 2.0
    boxes = torch.tensor([[[0.2, 0.2, 0.1, 0.1], [0.5, 0.5, 0.2, 0.4]]])
    outputs = {"pred_logits": logits, "pred_boxes": boxes}
    (found,) = postprocess(outputs, torch.tensor([[100, 200]]), num_select=2)
    assert found["labels"][0].item() == 2
    assert found["scores"][0].item() == pytest.approx(0.8808, abs=1e-4)
    assert found["boxes_xyxy"][0].tolist() == pytest.approx([80.0, 30.0, 120.0, 70.0], abs=1e-4)


@pytest.mark.parametrize(("num_select", "kept"), [(1, 1), (4, 4), (100, 6)])
def test_at_most_every_pair_is_kept(num_select, kept):
    """Two queries of three classes are six pairs, however many are asked for."""
    outputs = {"pred_logits": torch.randn(2, 2, 3), "pred_boxes": torch.rand(2, 2, 4)}
    found = postprocess(outputs, torch.tensor([[10, 10], [20, 20]]), num_select)
    assert [len(image["scores"]) for image in found] == [kept, kept]
    assert found[0]["labels"].dtype == torch.int64


@pytest.mark.parametrize(
    "imports",
    [
        "import ddetr_model.deformable_detr; from ddetr_model import postprocess",
        "from ddetr_model import postprocess; import ddetr_model.deformable_detr",
    ],
)
def test_the_package_gives_the_function_whatever_was_imported_before(imports):
    """No submodule bears the function's name, so none can take its place."""
    again = "import ddetr_model; assert ddetr_model.postprocess is postprocess"
    code = f"{imports}; {again}; assert postprocess.__name__ == 'postprocess'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_public_name_is_a_submodule_too():
    """Importing a submodule sets the package's attribute, which would hide the public name."""
    modules = {module.name for module in pkgutil.iter_modules(ddetr_model.__path__)}
    assert not modules & set(ddetr_model.__all__)
