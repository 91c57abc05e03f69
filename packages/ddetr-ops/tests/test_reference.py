"""The plain PyTorch operator against sums written out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ddetr_ops import ms_deform_attn, ms_deform_attn_reference


def by_hand(value, spatial_shapes, level_start_index, locations, weights):
    """The paper's equation 3, one scalar at a time."""
    batch, queries, heads, levels, points, _ = locations.shape
    output = value.new_zeros(batch, queries, heads, value.shape[3])
    for b, q, m, level, p in torch.cartesian_prod(
        *(torch.arange(n) for n in (batch, queries, heads, levels, points))
    ).tolist():
        height, width = spatial_shapes[level].tolist()
        x, y = (locations[b, q, m, level, p] * torch.tensor([width, height]) - 0.5).tolist()
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                if 0 <= row < height and 0 <= column < width:
                    weight = (1 - abs(x - column)) * (1 - abs(y - row))
                    pixel = value[b, level_start_index[level] + row * width + column, m]
                    output[b, q, m] += weight * weights[b, q, m, level, p] * pixel
    return output.flatten(2)


def test_equals_the_sum_written_out(make_arguments):
    """Bilinear samples, weighted and added, heads side by side."""
    arguments = make_arguments(queries=3, points=2, dtype=torch.float64)
    torch.testing.assert_close(ms_deform_attn_reference(*arguments), by_hand(*arguments))


def test_sizes_may_be_python_ints(arguments):
    """Ints and a tensor mean the same."""
    shapes = [tuple(shape) for shape in arguments.spatial_shapes.tolist()]
    output = ms_deform_attn_reference(
        arguments.value, shapes, None, arguments.sampling_locations, arguments.attention_weights
    )
    assert torch.equal(output, ms_deform_attn_reference(*arguments))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_values_are_summed_in_float32(make_arguments, dtype):
    """Only the output is rounded to value's dtype."""
    arguments = make_arguments(dtype=dtype)
    exact = ms_deform_attn_reference(arguments.value.float(), *list(arguments)[1:])
    assert torch.equal(ms_deform_attn_reference(*arguments), exact.to(dtype))


def test_locations_far_outside_are_zero(arguments):
    """Nothing is sampled beyond one pixel of the border."""
    arguments.sampling_locations.fill_(-7.0)
    assert not ms_deform_attn_reference(*arguments).any()


def test_compiles_without_a_graph_break(arguments):
    """fullgraph compilation gives the same numbers."""
    shapes = tuple(tuple(shape) for shape in arguments.spatial_shapes.tolist())
    compiled = torch.compile(
        lambda v, x, w: ms_deform_attn_reference(v, shapes, None, x, w),
        fullgraph=True,
        backend="aot_eager",
    )
    rest = (arguments.value, arguments.sampling_locations, arguments.attention_weights)
    torch.testing.assert_close(compiled(*rest), ms_deform_attn_reference(*arguments))


def test_unknown_backends_are_refused(arguments):
    """The text lists the three names."""
    with pytest.raises(ValueError, match="auto, native or reference"):
        ms_deform_attn(*arguments, backend="cuda")
