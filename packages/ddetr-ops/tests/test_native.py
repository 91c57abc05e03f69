"""The native CPU kernels against the reference and against the original's border rule."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddetr_ops import doctor, ms_deform_attn

PROBLEM = doctor(self_test=False).problems["cpu"]
pytestmark = pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM or "native")

# Relative to the largest number: float32 sums in another order; one rounding of a 16-bit output.
TOLERANCE = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def run(arguments, backend):
    """Output and the gradients of value, locations and weights."""
    leaves = arguments.with_grad()
    output = ms_deform_attn(*leaves, backend=backend)
    upstream = torch.randn(
        output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float32
    ).to(output.dtype)
    wanted = (leaves.value, leaves.sampling_locations, leaves.attention_weights)
    return (output.detach(), *torch.autograd.grad(output, wanted, upstream))


def assert_same(arguments, tolerance):
    """Native and reference agree to `tolerance` of the largest number in each result."""
    for found, expected in zip(run(arguments, "native"), run(arguments, "reference"), strict=True):
        assert found.dtype == expected.dtype
        scale = float(expected.float().abs().max()) if expected.numel() else 0.0
        torch.testing.assert_close(
            found.float(), expected.float(), rtol=0, atol=tolerance * scale + 1e-30
        )


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("channels", [1, 8, 24, 32, 40, 64, 100, 128])
def test_every_head_size_agrees(instruction_set, make_arguments, channels, dtype):
    """Packed rows (many queries) of any width, on every instruction set."""
    arguments = make_arguments(channels=channels, queries=30, points=3, dtype=dtype)
    assert_same(arguments, TOLERANCE[dtype])


@pytest.mark.parametrize("points", [1, 2, 4, 5, 8, 16])
@pytest.mark.parametrize("queries", [1, 3, 50])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_every_number_of_points_agrees(instruction_set, make_arguments, points, queries, dtype):
    """Few queries read value where it lies, many read a packed copy."""
    arguments = make_arguments(points=points, queries=queries, channels=32, dtype=dtype)
    assert_same(arguments, TOLERANCE[dtype])


@given(
    shapes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=6),
    batch=st.integers(0, 3),
    queries=st.integers(0, 20),
    heads=st.integers(1, 4),
    channels=st.integers(1, 40),
    points=st.integers(1, 6),
)
@settings(max_examples=40, deadline=None)
def test_any_sizes_agree(make_arguments, shapes, batch, queries, heads, channels, points):
    """Empty batches, single pixels, odd sizes: native equals reference."""
    arguments = make_arguments(shapes, batch, queries, heads, channels, points)
    assert_same(arguments, 1e-4)  # a single pixel's gradients cancel


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("shapes", "queries"),
    [(((20, 30), (10, 15)), 600), (((80, 90), (40, 45), (20, 23)), 600)],
    ids=["packed", "as it lies"],
)
def test_bits_do_not_depend_on_the_number_of_threads(make_arguments, dtype, shapes, queries):
    """Every number has one owner: 1, 2, 3 and 7 threads give equal bits, also beyond the heads."""
    arguments = make_arguments(
        shapes, batch=1, queries=queries, heads=4, channels=16, points=4, dtype=dtype
    )
    points = arguments.attention_weights.numel()
    assert points >= 16384, "fewer are worth one thread only"
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            results.append(run(arguments, "native"))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


def test_strided_inputs_are_read_right(make_arguments):
    """Transposed value, sliced locations and an expanded gradient give the same numbers."""
    arguments = make_arguments(queries=10)
    expected = run(arguments, "native")
    strided = type(arguments)(
        arguments.value.transpose(1, 2).contiguous().transpose(1, 2),
        arguments.spatial_shapes.t().contiguous().t(),
        arguments.level_start_index,
        torch.stack([arguments.sampling_locations] * 2, -1)[..., 0],
        torch.stack([arguments.attention_weights] * 2, -1)[..., 1],
    )
    assert not strided.value.is_contiguous()
    for found, wanted in zip(run(strided, "native"), expected, strict=True):
        assert torch.equal(found, wanted)
    leaves = arguments.with_grad()
    ms_deform_attn(*leaves, backend="native").sum().backward()
    other = arguments.with_grad()
    ms_deform_attn(*other, backend="reference").sum().backward()
    torch.testing.assert_close(leaves.value.grad, other.value.grad)


# Every border of the original's rule: a point counts if -1 < pixel < size, in both directions.
BORDERS = (-1e9, -2.0, -1.0, -0.5, 0.0, 0.5, 3.0, 6.5, 7.0, 7.5, 8.0, 9.0, 1e9)


def original_rule(value, size, pixel_x, pixel_y, upstream):
    """One level, one head in float64: output and gradient in pixels, by the original's formulas."""
    image = value.double().view(size, size, -1)
    output, grad_x, grad_y = torch.zeros_like(image[0, 0]), 0.0, 0.0
    if not (-1 < pixel_x < size and -1 < pixel_y < size):
        return output, grad_x, grad_y
    x0, y0 = int(pixel_x // 1), int(pixel_y // 1)
    for y, x in ((y0, x0), (y0, x0 + 1), (y0 + 1, x0), (y0 + 1, x0 + 1)):
        if 0 <= x < size and 0 <= y < size:
            weight_x, weight_y = 1 - abs(pixel_x - x), 1 - abs(pixel_y - y)
            output = output + weight_x * weight_y * image[y, x]
            dot = float((upstream.double() * image[y, x]).sum())
            grad_x += weight_y * dot * (1 if x > x0 else -1)
            grad_y += weight_x * dot * (1 if y > y0 else -1)
    return output, grad_x, grad_y


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("queries", [0, 200])
def test_borders_follow_the_original(dtype, queries):
    """At exactly representable locations on, inside and beyond every border; 1e9 pixels too."""
    size = 8
    positions = [(x, y) for x in BORDERS for y in BORDERS]
    total = len(positions) + queries
    value = torch.randn(1, size * size, 1, 4, dtype=dtype)
    upstream = torch.randn(1, total, 4, dtype=dtype)
    pixels = torch.tensor(positions + [(0.0, 0.0)] * queries, dtype=torch.float64)
    locations = ((pixels + 0.5) / size).to(dtype).view(1, total, 1, 1, 1, 2).requires_grad_()
    output = ms_deform_attn(
        value, [(size, size)], None, locations, torch.ones_like(locations[..., 0]), backend="native"
    )
    (grad,) = torch.autograd.grad(output, locations, upstream)
    for index, (x, y) in enumerate(positions):
        wanted, grad_x, grad_y = original_rule(value, size, x, y, upstream[0, index])
        torch.testing.assert_close(output[0, index].double(), wanted, rtol=1e-5, atol=1e-6)
        wanted_grad = torch.tensor([grad_x, grad_y], dtype=torch.float64) * size
        torch.testing.assert_close(
            grad[0, index].flatten().double(), wanted_grad, rtol=1e-5, atol=1e-4
        )


@pytest.mark.parametrize("queries", [2, 60])
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_locations_that_are_no_numbers_add_nothing(make_arguments, poison, queries):
    """A poisoned location touches neither output nor gradients, only its own gradient is zero."""
    arguments = make_arguments(queries=queries, channels=16)
    arguments.sampling_locations[0, 1] = poison
    for backend in ("native", "reference"):
        output, grad_value, grad_locations, grad_weights = run(arguments, backend)
        assert not output[0, 1].any()
        assert not grad_locations[0, 1].any()
        assert not grad_weights[0, 1].any()
        assert all(t.isfinite().all() for t in (output, grad_value, grad_locations, grad_weights))
    assert_same(arguments, TOLERANCE[torch.float32])


@pytest.mark.parametrize("queries", [2, 60])
def test_an_infinite_pixel_stays_where_it_is_sampled(make_arguments, queries):
    """Queries that do not sample the pixel stay finite."""
    arguments = make_arguments(((4, 4),), batch=1, queries=queries, channels=16)
    arguments.value[0, 15] = float("inf")
    arguments.sampling_locations.fill_(0.125)  # centre of pixel (0, 0)
    arguments.sampling_locations[0, 0] = 0.875  # centre of pixel (3, 3)
    output = ms_deform_attn(*arguments, backend="native")
    assert not output[0, 0].isfinite().any()
    assert output[0, 1:].isfinite().all()


@pytest.mark.slow
def test_more_than_two_to_the_31_numbers():
    """Indices are counted in 64 bits: the last number of nine gigabytes is found.

    NumPy's zeros are mapped, not written, so that the test needs no such memory.
    """
    shape = (2, 2048 * 2100, 8, 32)
    assert math.prod(shape) > 2**31
    zeros = np.zeros(shape, dtype=np.float32)
    zeros[-1, -1, -1] = np.arange(1, 33)
    last_pixel = torch.tensor([1 - 0.5 / 2100, 1 - 0.5 / 2048])
    locations = last_pixel.expand(2, 1, 8, 1, 1, 2)
    weights = torch.ones(2, 1, 8, 1, 1)
    value = torch.from_numpy(zeros)
    output = ms_deform_attn(value, [(2048, 2100)], None, locations, weights, backend="native")
    torch.testing.assert_close(output[1, 0, -32:], torch.arange(1.0, 33.0), rtol=1e-3, atol=0)
    assert not output[0].any()
    assert not output[1, 0, :-32].any()
