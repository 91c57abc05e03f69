"""patch(): wherever a layer holds the function, and whatever else its project has around it."""

from __future__ import annotations

import functools
import threading

import pytest
import torch
from torch import nn

import ddetr_ops
from ddetr_ops import ms_deform_attn_reference

SIZES = [(4, 6), (2, 3)]
QUERIES, HEADS, CHANNELS = 5, 2, 8
POINTS = (3, 2)  # of the two levels
theirs: list[str] = []  # which of the functions below were called


class _Answers:
    """A lazy import that fails as soon as it is asked for anything."""

    def __getattr__(self, name):
        raise RuntimeError(f"no {name}")


lazily = _Answers()


def deformable_attention_core_func(
    value, value_spatial_shapes, sampling_locations, attention_weights
):
    """Of RT-DETR."""
    theirs.append("first")
    sizes = [tuple(map(int, pair)) for pair in value_spatial_shapes]
    return ms_deform_attn_reference(value, sizes, None, sampling_locations, attention_weights)


def deformable_attention_core_func_v2(
    value,
    value_spatial_shapes,
    sampling_locations,
    attention_weights,
    num_points_list,
    method="default",
):
    """Of RT-DETRv2 and, with a value for each level, of D-FINE: one level after the other."""
    theirs.append("second")
    if isinstance(value, torch.Tensor):
        value = value.permute(0, 2, 3, 1).split([h * w for h, w in value_spatial_shapes], -1)
    locations = sampling_locations.split(num_points_list, 3)
    weights = attention_weights.split(num_points_list, 3)
    parts = zip(value, value_spatial_shapes, locations, weights, strict=True)
    return sum(
        ms_deform_attn_reference(
            each.permute(0, 3, 1, 2), [size], None, location[:, :, :, None], weight[:, :, :, None]
        )
        for each, size, location, weight in parts
    )


class Registered(nn.Module):
    """A base that keeps a list of its subclasses and asks each for a name."""

    def __init_subclass__(cls, *, name: str) -> None:
        super().__init_subclass__()


class Sampler(nn.Module):
    """RT-DETR's way: all points of a query behind each other."""

    def __init__(self):
        super().__init__()
        self.sampling_offsets = nn.Linear(4, 4)
        self.core = functools.partial(deformable_attention_core_func_v2, method="default")

    def forward(self, value, locations, weights):
        return self.core(value, SIZES, locations, weights, list(POINTS))


class LevelByLevel(Sampler):
    """D-FINE's way."""

    def forward(self, value, locations, weights):
        parts = value.permute(0, 2, 3, 1).split([h * w for h, w in SIZES], -1)
        return self.core(parts, SIZES, locations, weights, list(POINTS))


class Even(nn.Module):
    """Takes as many points of each level."""

    def __init__(self):
        super().__init__()
        self.sampling_offsets = nn.Linear(4, 4)

    @staticmethod
    def grid(locations, weights):
        batch, queries, heads = locations.shape[:3]
        even = (batch, queries, heads, len(SIZES), 2)
        return locations[:, :, :, :4].reshape(*even, 2), weights[:, :, :, :4].reshape(even)


class HeldByItsClass(Even):
    core = staticmethod(deformable_attention_core_func)

    def forward(self, value, locations, weights):
        return self.core(value, SIZES, *self.grid(locations, weights))


class Narrow(Even):
    """Sizes in int32, which functions of plain PyTorch take."""

    def forward(self, value, locations, weights):
        sizes = torch.tensor(SIZES, dtype=torch.int32)
        return deformable_attention_core_func(value, sizes, *self.grid(locations, weights))


class OfARegistry(Registered, name="one"):
    def __init__(self):
        super().__init__()
        self.sampling_offsets = nn.Linear(4, 4)

    def forward(self, value, locations, weights):
        points = Even.grid(locations, weights)
        return deformable_attention_core_func(value, SIZES, *points)


class BesideALazyImport(HeldByItsClass):
    def forward(self, value, locations, weights):
        if value is None:
            return lazily.something
        points = self.grid(locations, weights)
        return deformable_attention_core_func(value, SIZES, *points)


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    pixels, points = sum(h * w for h, w in SIZES), sum(POINTS)
    return (
        torch.randn(2, pixels, HEADS, CHANNELS, dtype=torch.float64, requires_grad=True),
        torch.rand(2, QUERIES, HEADS, points, 2, dtype=torch.float64, requires_grad=True),
        torch.rand(2, QUERIES, HEADS, points, dtype=torch.float64, requires_grad=True),
    )


@pytest.mark.parametrize(
    "kind", [Sampler, LevelByLevel, HeldByItsClass, Narrow, OfARegistry, BesideALazyImport]
)
def test_the_function_is_found_and_nothing_else_differs(kind, inputs):
    layer = kind()
    wanted = layer(*inputs)
    gradients = torch.autograd.grad(wanted.square().sum(), inputs)
    theirs.clear()
    report = ddetr_ops.patch(nn.Sequential(layer))
    assert len(report.replaced) == 1
    assert not report.left
    found = layer(*inputs)
    assert not theirs
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), inputs), gradients)
    assert len(ddetr_ops.patch(nn.Sequential(layer)).kept) == 1
    report.undo()
    layer(*inputs)
    assert theirs


def test_threads_give_a_class_one_replacement():
    """Compilers and isinstance compare it."""
    layers = [HeldByItsClass() for _ in range(16)]
    threads = [threading.Thread(target=ddetr_ops.patch, args=(layer,)) for layer in layers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({type(layer) for layer in layers}) == 1
