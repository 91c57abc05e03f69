"""The losses by hand, at the edges, and on two ranks."""

import math
import socket

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torchvision.ops import sigmoid_focal_loss

from ddetr_model import DetectorOutput, LayerOutput, LossConfig, SetCriterion
from ddetr_model.focal import focal_loss


def random_outputs(images=2, queries=7, classes=5, layers=3):
    def layer(count):
        logits = torch.randn(images, count, classes, requires_grad=True)
        boxes = torch.rand(images, count, 4) * 0.5 + 0.2
        return LayerOutput(logits, boxes.requires_grad_())

    *earlier, last = [layer(queries) for _ in range(layers)]
    return DetectorOutput(*last, aux_outputs=tuple(earlier))


@pytest.mark.parametrize("is_object", [False, True])
def test_focal_loss_is_torchvisions(is_object):
    """Values and gradients, for sure and unsure answers."""
    logits = torch.linspace(-90, 90, 61).requires_grad_()
    wanted = torch.full_like(logits, float(is_object))
    loss = focal_loss(logits, 0.3, is_object=is_object)
    expected = sigmoid_focal_loss(logits, wanted, alpha=0.3)
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(each.sum(), logits)[0] for each in (loss, expected)]
    torch.testing.assert_close(*gradients)


def test_two_boxes_by_hand():
    """One object, one query: L1 is the summed difference and GIoU the overlap's."""
    box = torch.tensor([[[0.5, 0.5, 0.2, 0.2]]])
    outputs = DetectorOutput(torch.zeros(1, 1, 5), box)
    target = {"boxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]]), "labels": torch.tensor([2])}
    losses = SetCriterion(LossConfig())(outputs, [target])
    assert losses["loss_bbox"].item() == pytest.approx(0.4)
    assert losses["loss_giou"].item() == pytest.approx(0.75)
    assert losses["loss_ce"].item() == pytest.approx((0.25 + 4 * 0.75) * 0.25 * math.log(2))


def test_total_weighs_each_loss_by_its_coefficient(targets):
    """cls, bbox and giou coefficients apply to every layer; errors are no losses."""
    criterion = SetCriterion(LossConfig(cls_loss_coef=3, bbox_loss_coef=4, giou_loss_coef=6))
    losses = criterion(random_outputs(), targets)
    weights = {"ce": 3, "bbox": 4, "giou": 6}
    wanted = sum(
        weights[name.split("_")[1]] * value
        for name, value in losses.items()
        if name.startswith("loss_")
    )
    assert criterion.total_loss(losses).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_batch_without_objects_trains_the_background():
    """Nothing to find still gives a focal loss, zero box losses and gradients."""
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    criterion, outputs = SetCriterion(LossConfig()), random_outputs()
    losses = criterion(outputs, [empty, empty])
    assert losses["loss_bbox"].item() == losses["loss_giou"].item() == 0
    assert losses["loss_ce"].item() > 0
    criterion.total_loss(losses).backward()
    assert torch.isfinite(outputs.pred_boxes.grad).all()


@pytest.mark.parametrize("size", [0.0, 1e-30, 1.0])
def test_degenerate_boxes_stay_finite(targets, size):
    """Predictions without area give finite losses and gradients."""
    boxes = torch.full((2, 7, 4), size, requires_grad=True)
    outputs = random_outputs()._replace(pred_boxes=boxes)
    criterion = SetCriterion(LossConfig())
    total = criterion.total_loss(criterion(outputs, targets))
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(outputs.pred_boxes.grad).all()


@pytest.mark.parametrize("box", [[0.5, 0.5, 0.0, 0.0], [0.0, 1.0, 1e-20, 1.0], [0.5] * 4])
def test_degenerate_objects_stay_finite(box):
    """Objects without area, on the border, and many at one place give finite gradients."""
    outputs = random_outputs()
    target = {"boxes": torch.tensor([box] * 3), "labels": torch.tensor([1, 1, 2])}
    criterion = SetCriterion(LossConfig())
    total = criterion.total_loss(criterion(outputs, [target, target]))
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(outputs.pred_boxes.grad).all()


def test_more_objects_than_queries_train_every_query():
    """Nine objects for seven queries: seven are matched, and all boxes get a gradient."""
    outputs = random_outputs(images=1, layers=1)
    target = {"boxes": torch.rand(9, 4) * 0.3 + 0.3, "labels": torch.arange(9) % 5}
    losses = SetCriterion(LossConfig())(outputs, [target])
    losses["loss_bbox"].backward()
    assert (outputs.pred_boxes.grad.abs().sum(-1) > 0).all()


@pytest.mark.parametrize("extreme", [-6e4, 6e4])
def test_half_precision_extremes_stay_finite(extreme, targets):
    """Logits at the ends of float16 are lifted to float32 before anything is computed."""
    logits = torch.full((2, 7, 5), extreme, dtype=torch.float16)
    outputs = random_outputs()._replace(pred_logits=logits)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = SetCriterion(LossConfig())(outputs, targets)
    assert all(torch.isfinite(value) and value.dtype == torch.float32 for value in losses.values())


def test_only_the_wanted_losses_are_computed(targets):
    """loss_types without boxes leaves the classes' loss alone."""
    losses = SetCriterion(LossConfig(loss_types=("labels",)))(random_outputs(), targets)
    assert {name for name in losses if name.startswith("loss_")} == {
        "loss_ce",
        "loss_ce_0",
        "loss_ce_1",
    }


def test_errors_count_the_last_layer(targets):
    """Matched queries of the wrong class are the class error, in per cent."""
    outputs = random_outputs(layers=1)
    with torch.no_grad():
        outputs.pred_logits[:] = -5.0
        outputs.pred_logits[:, :, 0] = 5.0  # no object is of class 0
    losses = SetCriterion(LossConfig())(outputs, targets)
    assert losses["class_error"].item() == 100.0
    assert losses["cardinality_error"].item() == pytest.approx(7 - 2.0)


def _rank_gradient(rank, port, queue):
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    outputs, targets = _shared_batch()
    mine = DetectorOutput(*(value[rank : rank + 1] for value in outputs[:2]))
    criterion = SetCriterion(LossConfig())
    loss = criterion.total_loss(criterion(mine, targets[rank : rank + 1]))
    (gradient,) = torch.autograd.grad(loss, outputs.pred_boxes)
    torch.distributed.all_reduce(gradient)  # data-parallel training takes the mean
    if rank == 0:
        queue.put((gradient / 2).tolist())
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _shared_batch():
    torch.manual_seed(3)
    outputs = random_outputs(layers=1)
    targets = [
        {"boxes": torch.rand(n, 4) * 0.3 + 0.3, "labels": torch.randint(0, 5, (n,))} for n in (5, 1)
    ]
    return outputs, targets


def test_two_ranks_with_half_the_batch_equal_one_rank():
    """Five objects here and one there weigh the same as six on one machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.get_context("fork")
    queue = context.Queue()
    ranks = [context.Process(target=_rank_gradient, args=(r, port, queue)) for r in range(2)]
    for rank in ranks:
        rank.start()
    joined = torch.tensor(queue.get(timeout=60))
    for rank in ranks:
        rank.join()
    outputs, targets = _shared_batch()
    criterion = SetCriterion(LossConfig())
    loss = criterion.total_loss(criterion(outputs, targets))
    (alone,) = torch.autograd.grad(loss, outputs.pred_boxes)
    torch.testing.assert_close(joined, alone, atol=1e-6, rtol=1e-5)
