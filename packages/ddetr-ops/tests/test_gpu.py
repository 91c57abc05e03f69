"""The CUDA kernels on a GPU against the reference; run by scripts/gpu_check.sh."""

from __future__ import annotations

import pytest
import torch

from ddetr_ops import _native, ms_deform_attn

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        bool(_native.problem_on("cuda")), reason=_native.problem_on("cuda") or "native"
    ),
]

# Relative to the largest number: atomic sums in any order; one rounding of a 16-bit output.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 2e-2}


def run(arguments, backend):
    """Output and the gradients of value, locations and weights, on the GPU."""
    leaves = [t.detach().cuda().requires_grad_(t.is_floating_point()) for t in arguments]
    output = ms_deform_attn(*leaves, backend=backend)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    return (output.detach(), *torch.autograd.grad(output.float().square().sum(), wanted))


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("channels", [1, 8, 20, 32, 64, 128, 200])
@pytest.mark.parametrize("points", [1, 4, 5])
def test_cuda_agrees_with_the_reference(make_arguments, channels, points, dtype):
    """Forward and backward, for vector and single-channel loads."""
    arguments = make_arguments(channels=channels, points=points, queries=41, dtype=dtype)
    for found, expected in zip(run(arguments, "native"), run(arguments, "reference"), strict=True):
        scale = float(expected.float().abs().max())
        torch.testing.assert_close(
            found.float(), expected.float(), rtol=0, atol=TOLERANCE[dtype] * scale
        )


def test_deterministic_mode_repeats_its_bits(make_arguments):
    """torch.use_deterministic_algorithms chooses the kernel without atomics."""
    arguments = make_arguments(queries=300, channels=32)
    torch.use_deterministic_algorithms(True)
    try:
        first, second = run(arguments, "native"), run(arguments, "native")
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_places_that_are_no_numbers_add_nothing(make_arguments):
    """NaN and infinity in locations stay out of output and gradients."""
    arguments = make_arguments(channels=32)
    arguments.sampling_locations[0, 1] = float("nan")
    arguments.sampling_locations[0, 2] = float("inf")
    results = run(arguments, "native")
    assert not results[0][0, 1:3].any()
    assert all(result.isfinite().all() for result in results)


def test_a_cuda_graph_can_hold_it(make_arguments):
    """Nothing waits for the GPU: the call is captured and replayed."""
    arguments = [t.cuda() for t in make_arguments(channels=32)]
    expected = ms_deform_attn(*arguments, backend="native")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = ms_deform_attn(*arguments, backend="native")
    graph.replay()
    torch.testing.assert_close(output, expected)


def test_opcheck_finds_no_fault_on_cuda(make_arguments):
    """Schema, fake shapes, autograd and AOT dispatch."""
    arguments = [t.cuda() for t in make_arguments().with_grad()]
    torch.library.opcheck(torch.ops.ddetr_ops.ms_deform_attn.default, tuple(arguments))
