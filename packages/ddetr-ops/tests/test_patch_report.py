"""What patch() says: what was replaced, what was left and why, and that there is nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import ddetr_ops
from ddetr_ops import MSDeformAttn
from ddetr_ops.dropin import mmcv


def multi_scale_deformable_attn_pytorch(
    value, value_spatial_shapes, sampling_locations, attention_weights
):
    """Of another project, by its name and arguments."""
    raise NotImplementedError


class Attention(nn.Module):
    """Calls it."""

    def __init__(self):
        super().__init__()
        self.sampling_offsets = nn.Linear(2, 2)

    def forward(self, *inputs):
        return multi_scale_deformable_attn_pytorch(*inputs)


class Elsewhere(Attention):
    """Computes the attention in a way of its own, in the place of its base's."""

    def forward(self, *inputs):
        return inputs[0]


def test_a_shared_layer_is_told_once():
    """Where it stands first, or as the model if it is the whole."""
    layer = Attention()
    assert len(ddetr_ops.patch(nn.Sequential(layer, layer)).replaced) == 1
    assert "(the model): Attention" in str(ddetr_ops.patch(Attention()))


@pytest.mark.parametrize(
    ("module", "project"),
    [
        ("models.ops.modules.ms_deform_attn", "Deformable DETR"),
        ("models.dino.ops.modules.ms_deform_attn", "DINO"),
        ("groundingdino.models.GroundingDINO.ms_deform_attn", "GroundingDINO"),
        ("mask2former.modeling.pixel_decoder.ops.modules.ms_deform_attn", "Mask2Former"),
        ("mmcv.ops.multi_scale_deform_attn", "mmcv"),
        ("somebody.layers", "somebody"),
    ],
)
def test_the_report_names_the_project(module, project):
    """By where its class was defined; nothing of it is imported."""
    layer = type("MSDeformAttn", (Attention,), {"__module__": module})()
    (replaced,) = ddetr_ops.patch(layer).replaced
    assert (replaced.class_name, replaced.project) == ("MSDeformAttn", project)


def test_nothing_to_replace_is_said():
    """A warning, a report that is false, and says that there is nothing."""
    # fault 57
    with pytest.warns(UserWarning, match="no multi-scale deformable attention"):
        report = ddetr_ops.patch(nn.Linear(2, 2))
    assert not report
    assert "no multi-scale deformable attention" in repr(report)
    report.undo()


def test_what_cannot_be_taken_is_told_with_the_reason():
    """By path and class, in the report and as a warning."""
    wrapped = Attention()
    wrapped.forward = lambda *inputs: Attention.forward(wrapped, *inputs)
    with pytest.warns(UserWarning, match="2 left as they were"):
        report = ddetr_ops.patch(nn.Sequential(Attention(), Elsewhere(), wrapped))
    reasons = {each.path: each.reason for each in report.left}
    assert set(reasons) == {"1", "2"}
    assert "calls no function that is known" in reasons["1"]
    assert "its forward was replaced" in reasons["2"]
    assert type(wrapped) is Attention
    assert report
    assert [each.path for each in report.replaced] == ["0"]
    for words in ("0: Attention", "1: Elsewhere", "1 replaced, 2 left"):
        assert words in str(report)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_traced_layer_is_told():
    """It has no Python code any more."""
    sizes, starts = torch.tensor([(4, 6), (2, 3)]), torch.tensor([0, 24])
    inputs = (torch.randn(2, 5, 32), torch.rand(2, 5, 2, 2), torch.randn(2, 30, 32))
    traced = torch.jit.trace(MSDeformAttn(32, 2, 4, 3), (*inputs, sizes, starts))
    with pytest.warns(UserWarning, match="scripted or traced"):
        report = ddetr_ops.patch(traced)
    (left,) = report.left
    assert left.class_name == "MSDeformAttn"


def test_layers_of_this_package_are_kept():
    """They need no change, and no warning."""
    model = nn.Sequential(
        MSDeformAttn(32, 2, 4, 3), mmcv.MultiScaleDeformableAttention(32, 4, 2, 3)
    )
    report = ddetr_ops.patch(model)
    assert [each.class_name for each in report.kept] == [
        "MSDeformAttn",
        "MultiScaleDeformableAttention",
    ]
    assert "2 ran on ddetr-ops before" in str(report)


def test_a_function_of_the_same_name_but_other_arguments_is_not_taken():
    """As the version of DINO's that knows its keys."""

    def ms_deform_attn_core_pytorch(query, value, key, value_spatial_shapes, locations, weights):
        raise NotImplementedError

    other = Elsewhere()
    other.core = ms_deform_attn_core_pytorch
    with pytest.warns(UserWarning, match="no function that is known"):
        assert not ddetr_ops.patch(other)


def test_what_is_no_module_is_refused():
    """Such as a state dict."""
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module, got dict"):
        ddetr_ops.patch({})
