"""Batch norms over all processes of a run: key train.sync_batchnorm."""

from __future__ import annotations

from torch import nn

from ddetr_model.backbones import synchronize_batch_norms


def synchronize_norms(network: nn.Module, processes: int) -> str:
    """Let the live batch norms of a network, before it is copied or split, share their statistics.

    Args:
        network: changed in place; frozen batch norms stay.
        processes: of the run, each with a GPU.

    Returns:
        What to tell of it.
    """
    if processes == 1:
        return "train.sync_batchnorm has no effect with one process"
    count = synchronize_batch_norms(network)
    if not count:
        return "train.sync_batchnorm has no effect: the network has no live batch norm"
    return f"train.sync_batchnorm: {count} batch norms share statistics over {processes} processes"
