"""Random arguments of the operator, seeded."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from ddetr_ops import use_kernels

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

SHAPES = ((6, 9), (3, 5), (2, 2))


@dataclass(frozen=True)
class Arguments:
    """The five arguments, in the operator's order."""

    value: Tensor
    spatial_shapes: Tensor
    level_start_index: Tensor
    sampling_locations: Tensor
    attention_weights: Tensor

    def __iter__(self):
        return iter(self.__dict__.values())

    def with_grad(self) -> Arguments:
        """Leaves that ask for gradients where the operator has them."""
        tensors = [t.detach().clone().requires_grad_(t.is_floating_point()) for t in self]
        return Arguments(*tensors)


def _random_arguments(
    shapes=SHAPES, batch=2, queries=7, heads=2, channels=8, points=4, dtype=torch.float32, seed=0
) -> Arguments:
    """Random arguments; locations reach a little outside the image."""
    rng = torch.Generator().manual_seed(seed)
    sizes = torch.tensor(shapes, dtype=torch.int64)
    areas = sizes.prod(1)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    value = torch.randn(batch, int(areas.sum()), heads, channels, generator=rng, dtype=wide)
    point_sizes = (batch, queries, heads, len(shapes), points)
    locations = torch.rand(*point_sizes, 2, generator=rng, dtype=wide) * 1.4 - 0.2
    logits = torch.randn(*point_sizes, generator=rng, dtype=wide)
    weights = logits.flatten(3).softmax(-1).view(point_sizes)
    return Arguments(value.to(dtype), sizes, areas.cumsum(0) - areas, locations, weights)


@pytest.fixture(scope="session")
def make_arguments():
    """The maker of random arguments; a fixture, since tests cannot import this file."""
    return _random_arguments


@pytest.fixture
def arguments() -> Arguments:
    return _random_arguments()


@pytest.fixture(params=["avx512", "avx2", "baseline"])
def instruction_set(request):
    """Each instruction set that this processor has."""
    with contextlib.ExitStack() as chosen:
        try:
            chosen.enter_context(use_kernels(instruction_set=request.param))
        except ValueError as error:
            pytest.skip(str(error))
        yield request.param


@pytest.fixture
def dispatched():
    """Names of our operators that PyTorch's dispatcher runs during a call."""

    def names(call) -> set[str]:
        with torch.autograd.profiler.profile(use_kineto=False) as profile:  # kineto takes seconds
            call()
        found = {event.name for event in profile.function_events}
        return {name for name in found if name.startswith("ddetr_ops::")}

    return names


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
