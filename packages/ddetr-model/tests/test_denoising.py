"""Denoising queries learn from known objects, and nothing else notices them."""

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from ddetr_model import (
    DeformableDETR,
    LossConfig,
    SetCriterion,
    export_original,
    load_checkpoint,
)
from ddetr_model.boxes import cxcywh_to_xyxy, generalized_iou
from ddetr_model.decoder import Queries
from ddetr_model.denoising import Denoising

pytestmark = pytest.mark.usefixtures("shallow_resnet")

GROUPS = 3
EMPTY = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}


@pytest.fixture
def build(tiny_detector, perturb):
    """Give a factory of detectors with three groups."""

    def make(**fields):
        return perturb(tiny_detector(denoising_groups=GROUPS, **fields))

    return make


def losses_of(model, batch, targets):
    torch.manual_seed(3)
    return SetCriterion(model.losses)(model(*batch, targets), targets)


def test_they_are_off_by_default(tiny_config):
    """No parameter and no output of theirs exists unless they are asked for."""
    model = DeformableDETR(tiny_config())
    assert not [name for name in model.state_dict() if "denoising" in name]
    assert model(torch.zeros(1, 3, 64, 64), None, [EMPTY]).denoised is None


def test_evaluation_knows_nothing_of_them(build, mixed_batch, targets):
    """The same numbers to the bit, with targets or without, and with the module taken away."""
    model = build().eval()
    with torch.no_grad():
        wanted = model(*mixed_batch)
        found = model(*mixed_batch, targets)
        model.denoising = None
        without = model(*mixed_batch)
    for outputs in (found, without):
        assert outputs.denoised is None
        assert torch.equal(outputs.pred_logits, wanted.pred_logits)
        assert torch.equal(outputs.pred_boxes, wanted.pred_boxes)


@pytest.mark.parametrize("fields", [{}, {"two_stage": True}, {"with_box_refine": False}])
def test_the_other_queries_do_not_see_them(fields, build, mixed_batch, targets):
    """In training too, predictions are what they are without denoising."""
    model = build(**fields)
    model.backbone.eval()
    with torch.no_grad():
        wanted = model(*mixed_batch)
        found = model(*mixed_batch, targets)
    torch.testing.assert_close(found[:2], wanted[:2], atol=1e-5, rtol=0)
    assert found.denoised.layers[0].pred_boxes.shape == (2, 3 * GROUPS, 4)
    assert found.denoised.padding.sum(1).tolist() == [0, 2 * GROUPS]


def test_groups_and_padding_are_blocked_by_hand(tiny_config):
    """Two objects in two groups before one query: a group sees itself and the query."""
    targets = [
        {"boxes": torch.rand(2, 4), "labels": torch.tensor([1, 2])},
        {"boxes": torch.rand(1, 4), "labels": torch.tensor([3])},
    ]
    noised = Denoising(tiny_config(), LossConfig(denoising_groups=2))(targets)
    start = Queries(torch.zeros(2, 1, 32), torch.zeros(2, 1, 32), torch.rand(2, 1, 2))
    queries = noised.before(start)
    assert queries.blocked.pairs.int().tolist() == [
        [0, 0, 1, 1, 0],
        [0, 0, 1, 1, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0],
    ]
    assert queries.blocked.queries.int().tolist() == [[0, 0, 0, 0, 0], [0, 1, 0, 1, 0]]
    assert queries.reference_points.shape == (2, 5, 2)


def test_padding_of_a_group_changes_no_other_query(build, mixed_batch, targets):
    """The second image's loss is the same beside an image of one object and beside three."""
    model = build(denoising_label_noise=0.0, denoising_box_noise=0.0)
    model.backbone.eval()
    with torch.no_grad():
        padded = model(*mixed_batch, targets)
        few = [{name: value[:1] for name, value in target.items()} for target in targets]
        alone = model(*mixed_batch, few)
    found = padded.denoised.layers[-1].pred_logits[1, ::3]
    torch.testing.assert_close(found, alone.denoised.layers[-1].pred_logits[1], atol=1e-5, rtol=0)


def test_noise_stays_in_its_limits(tiny_config):
    """Centres move by half the noise of the side, sides by the noise, classes by their share."""
    losses = LossConfig(denoising_groups=2000, denoising_box_noise=0.4, denoising_label_noise=0.5)
    box = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    denoising = Denoising(tiny_config(), losses)
    noised = denoising([{"boxes": box, "labels": torch.tensor([1])}])
    boxes = noised.boxes[0]
    moved = (boxes - box).abs() / torch.tensor([0.2, 0.4, 0.2, 0.4])
    assert (moved[:, :2] <= 0.2 + 1e-6).all()
    assert (moved[:, 2:] <= 0.4 + 1e-6).all()
    assert (moved.amax(0) > torch.tensor([0.19, 0.19, 0.38, 0.38])).all()
    changed = (noised.content[0] != denoising.label_embed.weight[1]).any(dim=-1).float().mean()
    assert changed.item() == pytest.approx(0.5 * 4 / 5, abs=0.05)


def test_losses_equal_a_plain_loop(build, mixed_batch, targets):
    """Every slot against its own object, divided by objects times groups."""
    model = build()
    torch.manual_seed(3)
    outputs = model(*mixed_batch, targets)
    losses = SetCriterion(model.losses)(outputs, targets)
    for place, suffix in ((0, "_0"), (1, "")):
        layer = outputs.denoised.layers[place]
        label = box = giou = 0.0
        for image, target in enumerate(targets):
            for group in range(GROUPS):
                for slot, (wanted, name) in enumerate(
                    zip(target["boxes"], target["labels"], strict=True)
                ):
                    query = 3 * group + slot
                    one_hot = torch.eye(5)[name]
                    logits, found = (
                        layer.pred_logits[image, query],
                        layer.pred_boxes[image, query],
                    )
                    label += sigmoid_focal_loss(logits, one_hot, 0.25).sum()
                    box += (found - wanted).abs().sum()
                    corners = cxcywh_to_xyxy(found), cxcywh_to_xyxy(wanted)
                    giou += 1 - generalized_iou(*corners)
        for name, value in (("ce", label), ("bbox", box), ("giou", giou)):
            torch.testing.assert_close(losses[f"loss_{name}{suffix}_dn"], value / (4 * GROUPS))


@pytest.mark.parametrize("fields", [{}, {"two_stage": True}, {"aux_loss": False}])
def test_every_parameter_gets_a_gradient(fields, build, mixed_batch, targets):
    """With objects, and without any in the batch, which data-parallel training must survive."""
    for wanted in (targets, [EMPTY, EMPTY]):
        model = build(**fields)
        losses = losses_of(model, mixed_batch, wanted)
        assert all(torch.isfinite(value) for value in losses.values())
        SetCriterion(model.losses).total_loss(losses).backward()
        learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
        assert not [name for name, parameter in learning.items() if parameter.grad is None]
        moved = model.denoising.label_embed.weight.grad.abs().sum().item()
        assert moved > 0 if wanted is targets else moved == 0


def test_the_gradient_is_the_losses_slope(build, mixed_batch, targets):
    """A small step along the gradient of the box embedding changes the loss by its length."""
    model = build(dec_layers=1)  # between layers, references carry no gradient
    model.backbone.eval()
    criterion = SetCriterion(model.losses)

    def loss():
        named = losses_of(model, mixed_batch, targets).items()
        return criterion.total_loss({k: v for k, v in named if k.endswith("_dn")})

    weight = model.denoising.box_embed.weight
    (gradient,) = torch.autograd.grad(loss(), weight)
    direction, step = gradient / gradient.norm(), 0.02
    with torch.no_grad():
        values = []
        for sign in (1, -1):
            weight.add_(sign * step * direction)
            values.append(loss().item())
            weight.sub_(sign * step * direction)
    slope = (values[0] - values[1]) / (2 * step)
    assert slope == pytest.approx(gradient.norm().item(), rel=0.05)


def test_activation_checkpointing_is_exact(build, mixed_batch, targets):
    """Blocked queries are blocked again when a layer is computed again."""
    model = build(dropout_ratio=0.3)
    model.backbone.eval()
    results = []
    for enabled in (False, True):
        model.set_activation_checkpointing(enabled)
        model.zero_grad()
        loss = SetCriterion(model.losses).total_loss(losses_of(model, mixed_batch, targets))
        loss.backward()
        results.append((loss.detach(), model.denoising.box_embed.weight.grad.clone()))
    torch.testing.assert_close(results[0], results[1], atol=0, rtol=0)


def test_other_layouts_leave_them_out(build, tmp_path):
    """An exported detector answers the same and has no denoising parameters."""
    model = build(padding_invariant=False).eval()
    export_original(model, tmp_path / "original.pth")
    loaded = load_checkpoint(tmp_path / "original.pth")
    assert loaded.denoising is None
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded(images).pred_logits, model(images).pred_logits)
