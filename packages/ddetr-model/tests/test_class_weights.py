"""Objects of some classes count more often in the class loss, and nothing else changes."""

import math

import pytest
import torch
from pydantic import ValidationError

from ddetr_model import DetectorOutput, LayerOutput, LossConfig, SetCriterion
from ddetr_model.outputs import DenoisedOutput

BOX = torch.tensor([[[0.5, 0.5, 0.2, 0.2]]])
OBJECT = 0.25 * 0.25 * math.log(2)  # alpha (1 - p)^2 (-log p) at a logit of 0
BACKGROUND = 0.75 * 0.25 * math.log(2)


def weighted(*weights):
    criterion = SetCriterion(LossConfig())
    criterion.set_class_weights(weights)
    return criterion


def target(label):
    return {"boxes": BOX[0], "labels": torch.tensor([label])}


def plain_output(**others):
    return DetectorOutput(torch.zeros(1, 1, 3), BOX, **others)


@pytest.mark.parametrize(("label", "weight"), [(0, 1), (1, 3), (2, 0.5)])
def test_an_object_counts_as_often_as_its_class_says(label, weight):
    """Worked by hand: one query, one object; the background of other classes counts once."""
    losses = weighted(1, 3, 0.5)(plain_output(), [target(label)])
    assert losses["loss_ce"].item() == pytest.approx(weight * OBJECT + 2 * BACKGROUND)


def test_weights_of_one_are_none(targets):
    """Every loss is the same to the bit, and so are the other losses with any weights."""
    torch.manual_seed(0)
    output = DetectorOutput(torch.randn(2, 7, 5), torch.rand(2, 7, 4) * 0.5 + 0.2)
    plain = SetCriterion(LossConfig())(output, targets)
    ones = weighted(*[1] * 5)(output, targets)
    assert all(torch.equal(plain[name], ones[name]) for name in plain)
    other = weighted(*range(1, 6))(output, targets)
    assert [name for name in plain if not torch.equal(plain[name], other[name])] == ["loss_ce"]


def test_proposals_know_no_class_and_denoising_queries_do():
    """Proposals are all "class 0", whose weight they do not get; earlier layers are weighed."""
    layer = LayerOutput(torch.zeros(1, 1, 3), BOX)
    denoised = DenoisedOutput((layer, layer), padding=torch.zeros(1, 1, dtype=torch.bool))
    output = plain_output(aux_outputs=(layer,), enc_outputs=layer, denoised=denoised)
    losses = weighted(5, 3, 1)(output, [target(1)])
    assert losses["loss_ce_enc"].item() == pytest.approx(OBJECT + 2 * BACKGROUND)
    for name in ("loss_ce", "loss_ce_0", "loss_ce_dn", "loss_ce_0_dn"):
        assert losses[name].item() == pytest.approx(3 * OBJECT + 2 * BACKGROUND)


def test_weights_are_no_tensor_of_a_checkpoint():
    """They follow the losses to another type or device, and no state dict holds them."""
    criterion = weighted(1, 2)
    assert not criterion.state_dict()
    assert criterion.double().class_weights.dtype == torch.float64


def test_images_without_objects_have_a_loss():
    """There is nothing to weigh."""
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    losses = weighted(5, 3, 1)(plain_output(), [nothing])
    assert losses["loss_ce"].item() == pytest.approx(3 * BACKGROUND)


@pytest.mark.parametrize("chosen", [{"car": 0}, {"car": -1}, {"car": math.inf}, "even", {"a": "b"}])
def test_other_weights_are_refused(chosen):
    """A weight is a finite number above 0, and the one word is balanced."""
    with pytest.raises(ValidationError, match="class_weights"):
        LossConfig(class_weights=chosen)
