"""Locations from offsets and weights from logits: the native pass against plain PyTorch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddetr_ops import (
    MSDeformAttn,
    doctor,
    ms_deform_attn_reference,
    sampling_points,
    sampling_points_reference,
)

PROBLEM = doctor(self_test=False).problems["cpu"]
native = pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM or "native")
# Float32 against float64: a rounding of numbers up to 8, and of sums of 16 of them.
TOLERANCE = 4e-6


def make_inputs(sizes=(2, 7, 3, 2, 4), coordinates=2, seed=0):
    """Reference points, offsets, logits (B, Q, M, L, P = sizes) and the levels' sizes."""
    batch, queries, _, levels, _ = sizes
    rng = torch.Generator().manual_seed(seed)
    tensors = (
        torch.rand(batch, queries, levels, coordinates, generator=rng),
        torch.randn(*sizes, 2, generator=rng) * 3,
        torch.randn(sizes, generator=rng) * 5,
    )
    shapes = [(9 + 2 * level, 4 + level) for level in range(levels)]
    return [tensor.requires_grad_() for tensor in tensors], shapes


def results(function, tensors, shapes, dtype):
    """Both outputs and the three gradients for the same upstream gradients."""
    leaves = [tensor.detach().to(dtype).requires_grad_() for tensor in tensors]
    outputs = function(*leaves, shapes)
    rng = torch.Generator().manual_seed(1)
    upstream = [torch.randn(t.shape, generator=rng).to(dtype) for t in outputs]
    return [*outputs, *torch.autograd.grad(outputs, leaves, upstream)]


@native
@pytest.mark.parametrize("coordinates", [2, 4])
@pytest.mark.parametrize("levels_points", [(1, 1), (4, 4), (3, 5), (5, 8), (2, 3)])
def test_native_equals_plain_pytorch(instruction_set, coordinates, levels_points):
    """Outputs and gradients agree with float64, whatever fills a vector or not."""
    tensors, shapes = make_inputs((2, 9, 3, *levels_points), coordinates)
    found = results(sampling_points, tensors, shapes, torch.float32)
    expected = results(sampling_points_reference, tensors, shapes, torch.float64)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=TOLERANCE, atol=TOLERANCE)


@native
def test_points_of_one_image_serve_a_batch():
    """As in plain PyTorch, reference points (1, Q, L, 2) count for each image of the batch."""
    (points, *others), shapes = make_inputs((3, 9, 3, 2, 4), 2)
    tensors = (points[:1], *others)
    found = sampling_points(*tensors, shapes)
    for one, other in zip(found, sampling_points_reference(*tensors, shapes), strict=True):
        torch.testing.assert_close(one, other, rtol=TOLERANCE, atol=TOLERANCE)


@native
@settings(deadline=None, max_examples=30)
@given(
    sizes=st.tuples(*[st.integers(0, 3)] * 2, *[st.integers(1, 6)] * 3),
    coordinates=st.sampled_from([2, 4]),
    seed=st.integers(0, 99),
)
def test_any_sizes_agree(sizes, coordinates, seed):
    """Also no images and no queries."""
    tensors, shapes = make_inputs(sizes, coordinates, seed)
    found = results(sampling_points, tensors, shapes, torch.float32)
    expected = results(sampling_points_reference, tensors, shapes, torch.float32)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=TOLERANCE, atol=TOLERANCE)


@native
def test_extreme_logits_behave_as_in_pytorch(instruction_set):
    """Very small ones vanish; infinity and NaN spoil their own row alone."""
    inf, nan = float("inf"), float("nan")
    rows = [[0, -200, -86, 3e38], [-inf, 1, 2, 3], [inf, 1, 2, 3], [nan, 1, 2, 3], [-inf] * 4]
    logits = torch.tensor(rows, dtype=torch.float32).view(1, 5, 1, 1, 4)
    inputs = (torch.rand(1, 5, 1, 2), torch.zeros(1, 5, 1, 1, 4, 2), logits)
    _, weights = sampling_points(*inputs, [(3, 3)])
    torch.testing.assert_close(weights, logits.softmax(-1), equal_nan=True)


@native
def test_the_number_of_threads_changes_no_bit():
    """Every query belongs to one thread, and no sum crosses queries."""
    tensors, shapes = make_inputs((2, 600, 4, 2, 4), 4)
    before = torch.get_num_threads()
    runs = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            runs.append(results(sampling_points, tensors, shapes, torch.float32))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(runs[0], run, strict=True))


@native
@pytest.mark.parametrize("coordinates", [2, 4])
def test_opcheck_finds_no_fault(coordinates):
    """Schema, fake shapes, autograd registration and AOT dispatch agree with the kernel."""
    tensors, shapes = make_inputs(coordinates=coordinates)
    operator = torch.ops.ddetr_ops.sampling_points.default
    torch.library.opcheck(operator, (*tensors, torch.tensor(shapes)))


@native
def test_the_layer_compiles_whole():
    """fullgraph with another number of queries, and the gradients of the eager layer."""
    layer = MSDeformAttn(32, 2, 4, 3)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    for queries in (5, 6):
        inputs = (torch.randn(1, queries, 32), torch.rand(1, queries, 2, 2), torch.randn(1, 30, 32))
        levels = (torch.tensor([[4, 6], [2, 3]]), torch.tensor([0, 24]))
        gradients = []
        for run in (layer, compiled):
            layer.zero_grad()
            run(*inputs, *levels).sum().backward()
            gradients.append(layer.sampling_offsets.weight.grad.clone())
        torch.testing.assert_close(*gradients)


def test_16_bit_projections_give_float32():
    """Locations and weights lose nothing more than their inputs had lost."""
    tensors, shapes = make_inputs()
    narrow = [tensor.detach().bfloat16() for tensor in tensors]
    found = sampling_points(*narrow, shapes)
    expected = sampling_points_reference(*(tensor.float() for tensor in narrow), shapes)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=TOLERANCE, atol=TOLERANCE)


def test_float64_goes_through_plain_pytorch():
    """gradcheck of the whole layer needs every digit."""
    tensors, shapes = make_inputs((1, 2, 2, 2, 2), 4)
    leaves = [tensor.detach().double().requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(lambda *t: sampling_points(*t, shapes), leaves)


def test_a_layer_with_another_core_is_plain_pytorch(dispatched):
    """Whoever exports or traces it finds no operator of ours in it."""
    layer = MSDeformAttn(32, 2, 4, 3)
    layer.core = ms_deform_attn_reference
    inputs = (torch.randn(1, 5, 32), torch.rand(1, 5, 2, 2), torch.randn(1, 30, 32))
    assert not dispatched(lambda: layer(*inputs, [(4, 6), (2, 3)], None))
    del layer.core
    points = "ddetr_ops::sampling_points"
    assert PROBLEM or points in dispatched(lambda: layer(*inputs, [(4, 6), (2, 3)], None))


# argument, what it becomes, error, words of the text
WRONG = [
    (0, lambda t: None, TypeError, "reference_points must be a tensor"),
    (0, lambda t: t.long(), TypeError, "reference_points must be float32"),
    (0, lambda t: t[..., :1], ValueError, "reference_points must end in 2"),
    (0, lambda t: t[:, :3], ValueError, "reference_points must be .* got"),
    (0, lambda t: t[:, :1], ValueError, "reference_points must be .* got"),
    (0, lambda t: t.detach().to("meta"), ValueError, "sampling_offsets is on cpu"),
    (1, lambda t: t[..., 0], ValueError, r"sampling_offsets must be \(B, Q, M, L, P, 2\)"),
    (1, lambda t: t.bool(), TypeError, "sampling_offsets must be float32"),
    (1, lambda t: t.detach().to_sparse(), TypeError, "sampling_offsets must be a dense"),
    (2, lambda t: t[..., :1], ValueError, "attention_logits must be .* got"),
    (2, lambda t: t.flatten(3), ValueError, "attention_logits must be"),
    (2, lambda t: t.to(torch.complex64), TypeError, "attention_logits must be float32"),
    (3, lambda t: t[:1], ValueError, "spatial_shapes must be 2 pairs"),
    (3, lambda t: [(0, 2), (1, 1)], ValueError, "spatial_shapes must be positive"),
    (3, lambda t: [(9.5, 4.0), (11, 5)], TypeError, "of ints"),
    (3, lambda t: torch.tensor(t).float(), TypeError, "spatial_shapes must be int64"),
    (3, lambda t: torch.tensor(t).to("meta"), ValueError, "spatial_shapes is on meta"),
    (3, lambda t: -torch.tensor(t), ValueError, "spatial_shapes must be positive"),
]


@pytest.mark.parametrize(("index", "spoil", "error", "words"), WRONG)
@native
def test_a_wrong_argument_is_named(index, spoil, error, words):
    """Before an address is followed or a dtype converted."""
    tensors, shapes = make_inputs()
    arguments = [*tensors, shapes]
    arguments[index] = spoil(arguments[index])
    with pytest.raises(error, match=words):
        sampling_points(*arguments)
