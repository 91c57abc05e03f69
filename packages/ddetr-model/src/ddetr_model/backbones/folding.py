"""Batch norms of a network that only answers, folded into the convolutions in front of them.

B images, H and W pixels.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ddetr_model.backbones.batch_norms import thaw_batch_norms

__all__ = ["fold_batch_norms"]

# Of the largest number of a map: float32 sums in another order differ by less.
_RELATIVE_DIFFERENCE = 1e-3


@torch.no_grad()
def fold_batch_norms(network: nn.Module, images: Tensor) -> nn.Module:
    """Give a copy of a network in eval mode whose convolutions do their batch norms' work.

    Which norm stands behind which convolution is seen in a run, so that any network will do. A
    norm that reads anything else stays.

    Args:
        network: answers images with maps, in a list.
        images: (B, 3, H, W), to run it on twice; noise will do.

    Returns:
        The copy; one without any folding where that would change the answer, as where a
        convolution's answer is read by more than its norm.
    """
    network = deepcopy(network).eval().requires_grad_(False)
    thaw_batch_norms(network)
    folded = deepcopy(network)
    wanted = network(images)
    for convolution, norm_name in _pairs(folded, images):
        _fold(convolution, folded, norm_name)
    are_equal = all(map(_is_close, folded(images), wanted))
    return folded if are_equal else network


def _pairs(network: nn.Module, images: Tensor) -> list[tuple[nn.Conv2d, str]]:
    """Run the network and find each convolution whose answer a batch norm reads, with its name."""
    answers: dict[int, nn.Conv2d] = {}
    kept: list[Tensor] = []  # or another tensor could take the place of one in `answers`
    calls: dict[nn.Module, int] = {}
    pairs: list[tuple[nn.Conv2d, str]] = []

    def record(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[module] = calls.get(module, 0) + 1
        if isinstance(module, nn.Conv2d):
            answers[id(output)] = module
            kept.append(output)
        elif id(inputs[0]) in answers:
            pairs.append((answers[id(inputs[0])], names[module]))

    names = {
        module: name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    }
    handles = [module.register_forward_hook(record) for module in names]
    network(images)
    for handle in handles:
        handle.remove()
    return [
        (convolution, name)
        for convolution, name in pairs
        if calls[convolution] == calls[network.get_submodule(name)] == 1
    ]


def _fold(convolution: nn.Conv2d, network: nn.Module, norm_name: str) -> None:
    norm: Any = network.get_submodule(norm_name)
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    # timm keeps the activation inside its batch norms.
    rest = nn.Sequential(norm.drop, norm.act) if hasattr(norm, "act") else nn.Identity()
    network.set_submodule(norm_name, rest)


def _is_close(mine: Tensor, theirs: Tensor) -> bool:
    return bool((mine - theirs).abs().max() <= _RELATIVE_DIFFERENCE * theirs.abs().max())
