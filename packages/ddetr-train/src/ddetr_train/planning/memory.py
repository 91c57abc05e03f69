"""The memory of a training step: estimated from shapes on any machine, measured on a GPU.

B images of H x W pixels.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
from lightning_fabric.utilities import move_data_to_device

from ddetr_data.coco import DetectionSet
from ddetr_data.torch import Batch
from ddetr_model import DeformableDETR, SetCriterion, count_activation_bytes
from ddetr_train.config import TrainConfig
from ddetr_train.module import build_optimizer, parameter_groups

_BYTES_PER_VALUE = 4
# Of a GPU's free memory; the rest is left to fragmentation and to the libraries' workspaces.
_USABLE_FRACTION = 0.9
# What convolutions and gradients on their way take beside what is kept, as a fraction of it.
_WORKSPACE_FRACTION = 0.25
_CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")


def worst_batch(
    batch_size: int, size_hw: tuple[int, int], images: DetectionSet, num_classes: int
) -> Batch:
    """Make a batch of that size with as many objects in every image as the fullest one has."""
    most = max((len(record.labels) for record in images.images), default=0)
    generator = torch.Generator().manual_seed(0)
    target = {
        "boxes": torch.rand(most, 4, generator=generator) * 0.2 + 0.4,
        "labels": torch.randint(num_classes, (most,), generator=generator),
    }
    pixels = torch.randn(batch_size, 3, *size_hw, generator=generator)
    mask = torch.zeros(batch_size, *size_hw, dtype=torch.bool)
    return Batch(pixels, mask, [target] * batch_size)


def estimate_step_bytes(
    network: DeformableDETR, config: TrainConfig, batch_size: int, size_hw: tuple[int, int]
) -> int:
    """Count weights, gradients, the optimiser's state and what the backward pass needs, in fp32.

    With activation checkpointing one layer at a time is computed again; its bytes are added.
    """
    values = sum(value.numel() for value in network.state_dict().values())
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    moments = 2 if config.optim.optimizer == "AdamW" else 1
    means = 0 if config.ema_decay is None else values
    shape = (batch_size, 3, *size_hw)
    observed = _without_hooks(network).train()
    kept = count_activation_bytes(observed, shape)
    if config.activation_checkpoint:
        kept += _largest_layer_bytes(observed, shape, kept)
    state: int = (values + means + (1 + moments) * trained) * _BYTES_PER_VALUE
    return state + round(kept * (1 + _WORKSPACE_FRACTION))


def measure_step_bytes(
    network: DeformableDETR, config: TrainConfig, batch: Batch, device: torch.device
) -> int:
    """Run one step with a copy of the network on a GPU and read the highest use of its memory.

    Raises:
        torch.cuda.OutOfMemoryError: the batch does not fit.
    """
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    try:
        _run_step(deepcopy(network).to(device).train(), config, move_data_to_device(batch, device))
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    finally:
        torch.cuda.empty_cache()


def largest_batch_size(fits: Callable[[int], bool], limit: int) -> int:
    """Find the largest batch size up to limit that fits, by doubling and then halving the gap.

    Raises:
        ValueError: not even one image fits.
    """
    if not fits(1):
        raise ValueError("not even a batch of one image fits into the GPU's memory")
    good, bad = 1, limit + 1
    while good * 2 < bad:
        if fits(good * 2):
            good *= 2
        else:
            bad = good * 2
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def free_gpu_bytes(device: torch.device) -> int:
    """Memory of a GPU that a run may plan with."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free * _USABLE_FRACTION)


def machine_bytes() -> int:
    """Memory of the machine, or of the container if that is less."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in _CGROUP_LIMITS:
        path = Path("/sys/fs/cgroup", name)
        if path.is_file() and (text := path.read_text("ascii").strip()).isdigit():
            limits.append(int(text))
    return min(limits)


def peak_process_bytes() -> int:
    """Highest memory of this process so far; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _largest_layer_bytes(
    network: DeformableDETR, shape: tuple[int, ...], kept_with_checkpoints: int
) -> int:
    """Divide what checkpointing saves among the layers that are computed again one by one."""
    network.set_activation_checkpointing(False)
    kept = count_activation_bytes(network, shape)
    layers = network.config.enc_layers + network.config.dec_layers
    return (kept - kept_with_checkpoints) // layers


def _without_hooks(network: DeformableDETR) -> DeformableDETR:
    """Copy the network; whoever watches it should see real steps alone."""
    copied = deepcopy(network)
    for module in copied.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return copied


def _run_step(network: DeformableDETR, config: TrainConfig, batch: Batch) -> None:
    """Do what training does with a batch: forward, backward and an update."""
    groups = parameter_groups(network.named_parameters(), config.optim)
    optimizer = build_optimizer(groups, config.optim)
    criterion = SetCriterion(network.losses)
    dtype = torch.float16 if config.precision == "fp16" else torch.bfloat16
    with torch.autocast(batch.images.device.type, dtype, enabled=config.precision != "fp32"):
        losses = criterion(network(batch.images, batch.mask), batch.targets)
    criterion.total_loss(losses).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
