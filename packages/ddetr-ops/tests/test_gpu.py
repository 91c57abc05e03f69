"""The CUDA kernels on a GPU against the reference; run by scripts/gpu_check.sh."""

from __future__ import annotations

import pytest
import torch

from ddetr_ops import MSDeformAttn, doctor, ms_deform_attn, use_kernels

PROBLEM = doctor(self_test=False).problems["cuda"]
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM or "native")]

# Relative to the largest number: atomic sums in any order; one rounding of a 16-bit output.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 2e-2}
ENCODER = ((40, 50), (20, 25), (10, 13), (5, 7))  # a query for each pixel, in several tiles
PIXELS = sum(height * width for height, width in ENCODER)


def between_centres(arguments):
    """The same with every point a tenth of a pixel away from where its gradient jumps."""
    sizes_wh = arguments.spatial_shapes.flip(-1)[:, None]  # (L, 1, 2)
    pixels = arguments.sampling_locations * sizes_wh - 0.5
    pixels = pixels.floor() + 0.1 + 0.8 * (pixels - pixels.floor())
    tensors = dict(arguments.__dict__, sampling_locations=(pixels + 0.5) / sizes_wh)
    return type(arguments)(**tensors)


def run(arguments, backend):
    """Output and the gradients of value, locations and weights, on the GPU."""
    leaves = [t.detach().cuda().requires_grad_(t.is_floating_point()) for t in arguments]
    output = ms_deform_attn(*leaves, backend=backend)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    return (output.detach(), *torch.autograd.grad(output.float().square().sum(), wanted))


def assert_agreement(arguments):
    """Output and gradients of the kernels are the reference's."""
    tolerance = TOLERANCE[arguments.value.dtype]
    for found, expected in zip(run(arguments, "native"), run(arguments, "reference"), strict=True):
        scale = float(expected.float().abs().max())
        torch.testing.assert_close(found.float(), expected.float(), rtol=0, atol=tolerance * scale)


@pytest.fixture
def deterministic():
    """torch.use_deterministic_algorithms, put back afterwards."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("channels", [1, 8, 20, 32, 64, 128, 200])
@pytest.mark.parametrize("points", [1, 4, 5])
def test_few_queries_agree_with_the_reference(make_arguments, channels, points, dtype):
    """Forward and backward, for vector and single-channel loads."""
    assert_agreement(
        between_centres(make_arguments(channels=channels, points=points, queries=41, dtype=dtype))
    )


@pytest.mark.parametrize("tiles", [True, False])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("channels", [4, 8, 20, 32, 64, 128])
def test_a_query_for_each_pixel_agrees(make_arguments, channels, dtype, tiles):
    """The encoder's kernels, with square tiles of queries and without."""
    arguments = make_arguments(ENCODER, queries=PIXELS, channels=channels, dtype=dtype)
    with use_kernels(cuda_tiles=tiles):
        assert_agreement(between_centres(arguments))


@pytest.mark.parametrize(("levels", "points"), [(1, 32), (1, 33), (8, 2), (9, 2)])
def test_many_points_and_levels_agree(make_arguments, levels, points):
    """On both sides of what the tiles' gradient kernel takes."""
    shapes = ((11, 18), *[(4, 5)] * (levels - 1))
    pixels = sum(height * width for height, width in shapes)
    assert_agreement(
        between_centres(make_arguments(shapes, queries=pixels, channels=32, points=points))
    )


def test_samples_far_from_their_query_agree(make_arguments):
    """They miss the tile's windows; some are outside the image."""
    arguments = make_arguments(ENCODER, queries=PIXELS, channels=32)
    arguments.sampling_locations.copy_(torch.rand(arguments.sampling_locations.shape) * 3 - 1)
    assert_agreement(between_centres(arguments))


@pytest.mark.parametrize("queries", [300, PIXELS])
def test_deterministic_mode_repeats_its_bits(make_arguments, deterministic, queries):
    """torch.use_deterministic_algorithms chooses the kernel without atomics."""
    arguments = between_centres(make_arguments(ENCODER, queries=queries, channels=32))
    first, second = run(arguments, "native"), run(arguments, "native")
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    expected = run(arguments, "reference")[1]
    torch.testing.assert_close(first[1], expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("queries", [7, PIXELS])
def test_locations_that_are_no_numbers_add_nothing(make_arguments, queries):
    """NaN and infinity in locations stay out of output and gradients."""
    arguments = make_arguments(ENCODER, queries=queries, channels=32)
    arguments.sampling_locations[0, 1] = float("nan")
    arguments.sampling_locations[0, 2] = float("inf")
    results = run(arguments, "native")
    assert not results[0][0, 1:3].any()
    assert all(result.isfinite().all() for result in results)


@pytest.mark.parametrize("queries", [0, 41])
@pytest.mark.parametrize("batch", [0, 2])
def test_empty_calls_give_empty_or_zero(make_arguments, batch, queries):
    """No images, no queries: nothing is launched, gradients are zero."""
    results = run(make_arguments(batch=batch, queries=queries), "native")
    assert results[0].shape == (batch, queries, 16)
    assert batch * queries or not results[1].any()


@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_any_strides_and_starts_in_memory_are_read_right(make_arguments, dtype):
    """Transposed, sliced, and one number behind where 16-byte loads may start."""
    arguments = make_arguments(ENCODER, queries=PIXELS, channels=32, dtype=dtype)
    value, shapes, starts, locations, weights = (t.cuda() for t in arguments)
    expected = ms_deform_attn(value, shapes, starts, locations, weights, backend="native")
    shifted = [torch.cat([t.new_zeros(1), t.flatten()])[1:].view_as(t) for t in (value, locations)]
    strided = (
        value.transpose(1, 2).contiguous().transpose(1, 2),
        torch.stack([locations] * 2, -1)[..., 0],
    )
    for other_value, other_locations in (shifted, strided):
        found = ms_deform_attn(
            other_value, shapes, starts, other_locations, weights, backend="native"
        )
        assert torch.equal(found, expected)
    upstream = torch.ones_like(expected[..., :1]).expand_as(expected)
    value.requires_grad_()
    ms_deform_attn(value, shapes, starts, locations, weights, backend="native").backward(upstream)
    assert value.grad.isfinite().all()


@pytest.mark.parametrize("queries", [41, PIXELS])
def test_a_cuda_graph_can_hold_it(make_arguments, queries):
    """Nothing waits for the GPU: forward and backward are captured and replayed on new numbers."""
    leaves = [
        t.cuda().requires_grad_(t.is_floating_point())
        for t in make_arguments(ENCODER, queries=queries, channels=32)
    ]
    shapes = [tuple(pair) for pair in leaves[1].tolist()]
    value, _, _, locations, weights = leaves

    def step():
        output = ms_deform_attn(value, shapes, None, locations, weights, backend="native")
        return output, *torch.autograd.grad(output.square().sum(), (value, weights))

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step()
    with torch.no_grad():
        value.mul_(2)
    graph.replay()
    for found, expected in zip(results, step(), strict=True):
        scale = float(expected.detach().abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * scale)


def test_it_runs_on_the_current_stream(make_arguments):
    """After what waits there, not beside it."""
    value, *rest = (t.cuda() for t in make_arguments(ENCODER, queries=PIXELS, channels=32))
    expected = ms_deform_attn(value, *rest, backend="native")
    late = torch.zeros_like(value)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(20_000_000)
        late.copy_(value)
        found = ms_deform_attn(late, *rest, backend="native")
    torch.cuda.synchronize()
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_layer_trains_under_autocast(dtype):
    """Value in 16 bits, locations in float32; every parameter gets a finite gradient."""
    layer = MSDeformAttn(64, len(ENCODER), 2, 4).cuda()
    pixels = torch.randn(2, PIXELS, 64, device="cuda")
    references = torch.rand(2, PIXELS, len(ENCODER), 2, device="cuda")
    with torch.autocast("cuda", dtype=dtype):
        output = layer(pixels, references, pixels, list(ENCODER), None)
    assert output.dtype == dtype
    output.float().square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_opcheck_finds_no_fault_on_cuda(make_arguments):
    """Schema, fake shapes, autograd and AOT dispatch."""
    arguments = [t.cuda() for t in make_arguments().with_grad()]
    torch.library.opcheck(torch.ops.ddetr_ops.ms_deform_attn.default, tuple(arguments))


def test_more_than_two_to_the_31_numbers():
    """Indices are counted in 64 bits, in the output's sums and in the scattered ones."""
    shape = (2, 2048 * 2100, 8, 32)
    if torch.cuda.mem_get_info()[0] < 40e9:
        pytest.skip("needs 40 GB of the GPU's memory")
    value = torch.zeros(shape, device="cuda")
    value[-1, -1, -1] = torch.arange(1.0, 33.0, device="cuda")
    value.requires_grad_()
    last_pixel = torch.tensor([1 - 0.5 / 2100, 1 - 0.5 / 2048], device="cuda")
    locations = last_pixel.expand(2, 1, 8, 1, 1, 2).contiguous()
    weights = torch.ones(2, 1, 8, 1, 1, device="cuda")
    output = ms_deform_attn(value, [(2048, 2100)], None, locations, weights, backend="native")
    expected = torch.arange(1.0, 33.0, device="cuda")
    torch.testing.assert_close(output[1, 0, -32:], expected, rtol=1e-3, atol=0)
    assert not output[0].any()
    (grad,) = torch.autograd.grad(output.sum(), value)
    torch.testing.assert_close(grad[:, -1], torch.ones_like(grad[:, -1]), rtol=1e-3, atol=0)
    assert not grad[:, 0].any()
