"""How a network's layers compute fastest on the machine that they are on."""

from __future__ import annotations

import torch
from torch import nn

from ddetr_model._one_dnn import use_one_dnn

__all__ = ["use_fast_layers"]


def use_fast_layers(network: nn.Module, *, on_cpu: bool = True) -> None:
    """Change in place how a network computes, and neither its tensors' values nor their names.

    Weights of convolutions, and with them the feature maps, lie with their channels last. On the
    CPU linear layers and pointwise convolutions in float32 are computed by oneDNN where PyTorch's
    own choice, MKL, does not use the processor's widest vectors. Answers and gradients differ by
    the rounding of other orders of summing.

    Args:
        network: any network.
        on_cpu: whether it will compute there; a network that is elsewhere does not.
    """
    network.to(memory_format=torch.channels_last)
    if on_cpu and all(parameter.is_cpu for parameter in network.parameters()):
        use_one_dnn(network)
