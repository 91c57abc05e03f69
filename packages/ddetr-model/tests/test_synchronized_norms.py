"""Live batch norms are replaced by synchronised ones, and nothing else of a network changes.

What they compute over several GPUs is PyTorch's; it was not run on a GPU.
"""

import copy

import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from ddetr_model.backbones import freeze_batch_norms, synchronize_batch_norms


def plain():
    """Give a live norm, a frozen one, and a group norm."""
    live = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    frozen = freeze_batch_norms(nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)))
    return nn.Sequential(live, frozen, nn.GroupNorm(2, 4))


def with_activations():
    """Give the network of timm whose batch norms hold their activation."""
    timm = pytest.importorskip("timm")
    return timm.create_model("test_efficientnet", pretrained=False)


@pytest.mark.parametrize("build", [plain, with_activations])
def test_a_network_answers_as_before_in_one_process(build):
    """In training and in evaluation; names, weights and statistics stay the same tensors."""
    torch.manual_seed(0)
    network = build()
    changed = copy.deepcopy(network)
    number = sum(isinstance(each, nn.BatchNorm2d) for each in network.modules())
    assert synchronize_batch_norms(changed) == number > 0
    assert sum(isinstance(each, nn.SyncBatchNorm) for each in changed.modules()) == number
    images = torch.rand(2, 3, 64, 64)
    for mode in (True, False):
        assert torch.equal(network.train(mode)(images), changed.train(mode)(images))
    before, after = network.state_dict(), changed.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_frozen_norms_stay_frozen():
    """They have no statistics to share."""
    network = plain()
    assert synchronize_batch_norms(network) == 1
    assert isinstance(network[1][1], FrozenBatchNorm2d)
    assert synchronize_batch_norms(network) == 0


def test_parameters_stay_the_same_objects():
    """An optimiser, or another name of a module, still knows them."""
    network = plain()
    weight = network[0][1].weight.requires_grad_(False)
    synchronize_batch_norms(network)
    assert network[0][1].weight is weight
    assert not network[0][1].weight.requires_grad
