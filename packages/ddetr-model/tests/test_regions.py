"""Regions to ignore: what lies in them adds no class loss, in any layer."""

import pytest
import torch

from ddetr_model import DenoisedOutput, DetectorOutput, LayerOutput, LossConfig, SetCriterion

# fault 22
OBJECT = torch.tensor([[0.2, 0.2, 0.2, 0.2]])
REGION = torch.tensor([[0.75, 0.75, 0.5, 0.5]])  # corners .5 to 1
INSIDE, HALF, OUTSIDE = (
    [0.75, 0.75, 0.125, 0.125],
    [0.5, 0.75, 0.25, 0.25],  # half of it lies in the region
    [0.2, 0.8, 0.2, 0.2],
)
TARGETS = [{"labels": torch.tensor([1]), "boxes": OBJECT}]
WITH_REGION = [{**TARGETS[0], "regions": REGION}]


def layer(*boxes, matched=True):
    """Confident queries with these boxes; the first answers for the object."""
    first = OBJECT.tolist() if matched else []
    places = torch.tensor([[*first, *boxes]])
    logits = torch.full((1, places.shape[1], 3), 2.0).requires_grad_()
    return LayerOutput(logits, places)


def focal(count, logit=2.0, alpha=0.25):
    """The loss of so many entries of background."""
    p = torch.tensor(logit).sigmoid()
    return count * (1 - alpha) * p**2 * -(1 - p).log()


def test_a_query_in_a_region_adds_no_class_loss():
    """More than half of its own area counts; exactly half does not, and outside neither."""
    criterion = SetCriterion(LossConfig())
    outputs = DetectorOutput(*layer(INSIDE, HALF, OUTSIDE))
    plain, ignoring = (criterion(outputs, each)["loss_ce"] for each in (TARGETS, WITH_REGION))
    assert (plain - ignoring).item() == pytest.approx(focal(3).item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(ignoring, outputs.pred_logits)
    silent = (gradient == 0).all(-1)[0]
    assert silent.tolist() == [False, True, False, False]


def test_a_matched_query_is_judged_in_a_region_too():
    """An object that lies in a region is an object."""
    criterion = SetCriterion(LossConfig())
    outputs = DetectorOutput(*layer())
    around = [{**TARGETS[0], "regions": torch.tensor([[0.2, 0.2, 0.4, 0.4]])}]
    plain, ignoring = (criterion(outputs, each) for each in (TARGETS, around))
    assert plain == ignoring


def test_every_layer_and_the_proposals_follow_the_rule():
    """Earlier layers by their own boxes and matches; two stages' proposals likewise."""
    criterion = SetCriterion(LossConfig())
    last, earlier, first_stage = layer(OUTSIDE), layer(INSIDE), layer(INSIDE, INSIDE, OUTSIDE)
    outputs = DetectorOutput(*last, aux_outputs=(earlier,), enc_outputs=first_stage)
    plain, ignoring = (criterion(outputs, each) for each in (TARGETS, WITH_REGION))
    spared = {name: (plain[name] - ignoring[name]).item() for name in plain if "ce" in name}
    assert spared["loss_ce"] == 0
    assert spared["loss_ce_0"] == pytest.approx(focal(3).item(), rel=1e-5)
    assert spared["loss_ce_enc"] == pytest.approx(focal(6).item(), rel=1e-5)
    for name in plain:
        if "bbox" in name or "giou" in name:
            assert plain[name] == ignoring[name]


def test_denoising_queries_have_their_object_wherever_it_lies():
    """No region takes their loss."""
    criterion = SetCriterion(LossConfig())
    denoised = DenoisedOutput((layer(),), torch.tensor([[False]]))
    outputs = DetectorOutput(*layer(OUTSIDE), denoised=denoised)
    around = [{**TARGETS[0], "regions": torch.tensor([[0.2, 0.2, 0.4, 0.4]])}]
    plain, ignoring = (criterion(outputs, each) for each in (TARGETS, around))
    assert plain["loss_ce_dn"] == ignoring["loss_ce_dn"]


def test_images_may_have_no_region_or_several():
    """The padding of a batch is no region, and regions need no object."""
    criterion = SetCriterion(LossConfig())
    boxes = torch.tensor([[OUTSIDE, INSIDE]]).repeat(3, 1, 1)
    outputs = DetectorOutput(torch.full((3, 2, 3), 2.0), boxes)
    nothing = {"labels": torch.zeros(0, dtype=torch.long), "boxes": torch.zeros(0, 4)}
    other = torch.tensor([[0.2, 0.8, 0.3, 0.3], [0.7, 0.7, 0.4, 0.4]])
    targets = [nothing, {**nothing, "regions": REGION}, {**nothing, "regions": other}]
    loss = criterion(outputs, targets)["loss_ce"]
    assert loss.item() == pytest.approx(focal(2 * 3 + 3).item(), rel=1e-5)
    assert criterion(outputs, [nothing] * 3)["loss_ce"].item() == pytest.approx(
        focal(18).item(), rel=1e-5
    )


def test_a_query_without_area_lies_in_no_region():
    """Nothing is divided by zero."""
    outputs = DetectorOutput(*layer([0.7, 0.7, 0.0, 0.0]))
    plain, ignoring = (SetCriterion(LossConfig())(outputs, it) for it in (TARGETS, WITH_REGION))
    assert plain == ignoring
