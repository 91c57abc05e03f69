"""The operator inside PyTorch: schema, derivatives, compile, export, autocast, threads."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from ddetr_ops import doctor, ms_deform_attn

ms_deform_attn_operator = torch.ops.ddetr_ops.ms_deform_attn.default
PROBLEM = doctor(self_test=False).problems["cpu"]
native = pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM or "native")
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


@native
@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck_finds_no_fault(make_arguments, dtype):
    """Schema, fake shapes, autograd registration and AOT dispatch agree with the kernels."""
    arguments = make_arguments(dtype=dtype).with_grad()
    torch.library.opcheck(ms_deform_attn_operator, tuple(arguments))


@native
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_gradients_are_the_derivatives(make_arguments, backend):
    """gradcheck in float64."""
    arguments = make_arguments(((3, 4), (2, 2)), 1, 2, 2, 3, 2, torch.float64).with_grad()
    assert torch.autograd.gradcheck(
        lambda *tensors: ms_deform_attn(*tensors, backend=backend), tuple(arguments)
    )


@native
def test_compiles_whole_with_changing_queries(make_arguments):
    """fullgraph, forward and backward, for several numbers of queries."""
    compiled = torch.compile(ms_deform_attn, fullgraph=True, backend="aot_eager", dynamic=True)
    for queries in (7, 9, 12):
        eager, traced = (make_arguments(queries=queries).with_grad() for _ in range(2))
        ms_deform_attn(*eager).sum().backward()
        compiled(*traced).sum().backward()
        torch.testing.assert_close(traced.value.grad, eager.value.grad)


@native
def test_exports_as_one_node(make_arguments):
    """torch.export keeps the operator and a free number of queries."""

    class Layer(torch.nn.Module):
        def forward(self, value, shapes, starts, locations, weights):
            return ms_deform_attn(value, shapes, starts, locations, weights)

    queries = torch.export.Dim("queries", min=2, max=50)
    dynamic = (None, None, None, {1: queries}, {1: queries})
    program = torch.export.export(Layer(), tuple(make_arguments()), dynamic_shapes=dynamic)
    targets = [node.target for node in program.graph.nodes]
    assert targets.count(ms_deform_attn_operator) == 1
    other = make_arguments(queries=11, seed=3)
    assert torch.equal(program.module()(*other), ms_deform_attn(*other))


@pytest.mark.filterwarnings("ignore::UserWarning")  # the fake tensors' device may be missing
def test_the_back_end_for_a_gpu_is_chosen_while_tracing():
    """Asking for the driver breaks no graph: strict export holds the operator or the reference."""

    class Layer(torch.nn.Module):
        def forward(self, value, locations, weights):
            return ms_deform_attn(value, [(6, 9), (3, 5)], None, locations, weights)

    point_sizes = (2, 7, 2, 2, 4)
    with FakeTensorMode():
        sizes = ((2, 69, 2, 8), (*point_sizes, 2), point_sizes)
        inputs = tuple(torch.empty(size, device="cuda") for size in sizes)
        try:
            inputs[0][:, 0]
        except RuntimeError:
            pytest.skip("this torch asks for a driver to index a fake tensor")
    program = torch.export.export(Layer(), inputs, strict=True)
    targets = [node.target for node in program.graph.nodes]
    runs = not doctor(self_test=False).problems["cuda"]
    assert (ms_deform_attn_operator in targets) == runs


@native
def test_autocast_widens_locations_and_weights(make_arguments):
    """The bare operator under autocast takes 16-bit locations, and never reads them as float32."""
    arguments = make_arguments(dtype=torch.bfloat16)
    narrow = [arguments.sampling_locations.bfloat16(), arguments.attention_weights.bfloat16()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = ms_deform_attn_operator(*list(arguments)[:3], *narrow)
    expected = ms_deform_attn(*list(arguments)[:3], *[t.float() for t in narrow])
    assert torch.equal(output, expected)


@native
def test_sizes_as_ints_equal_sizes_as_tensor(arguments):
    """Python ints need no start indices and no tensor of sizes."""
    shapes = arguments.spatial_shapes.tolist()
    rest = (arguments.sampling_locations, arguments.attention_weights)
    output = ms_deform_attn(arguments.value, shapes, None, *rest, backend="native")
    assert torch.equal(output, ms_deform_attn(*arguments, backend="native"))


@native
def test_16_bit_locations_are_widened(make_arguments):
    """A model in bfloat16 throughout runs, and its gradients come back in bfloat16."""
    arguments = make_arguments(dtype=torch.bfloat16)
    tensors = [t.bfloat16() if t.is_floating_point() else t for t in arguments]
    leaves = type(arguments)(*tensors).with_grad()
    ms_deform_attn(*leaves).sum().backward()
    assert leaves.sampling_locations.grad.dtype == torch.bfloat16


@native
def test_other_threads_run_during_a_kernel(make_arguments):
    """The GIL is released: eight calls from four threads give the single call's numbers."""
    from concurrent.futures import ThreadPoolExecutor

    arguments = make_arguments(queries=50)
    expected = ms_deform_attn(*arguments)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: ms_deform_attn(*arguments), range(8)))
    assert all(torch.equal(result, expected) for result in results)


@native
@pytest.mark.parametrize("of", ["value", "sampling_locations", "attention_weights"])
def test_a_second_derivative_is_refused(arguments, of):
    """Never a wrong one; making a graph of the first alone is fine."""
    leaves = arguments.with_grad()
    output = ms_deform_attn(*leaves).square().sum()
    (grad,) = torch.autograd.grad(output, getattr(leaves, of), create_graph=True)
    with pytest.raises(RuntimeError, match="pass backend='reference'"):
        grad.square().sum().backward()


@native
def test_sizes_as_ints_survive_inference_and_tracing(arguments):
    """Their tensors are kept between calls: not as inference tensors, nor inside a trace."""
    sizes = [tuple(pair) for pair in arguments.spatial_shapes.tolist()]
    rest = (arguments.sampling_locations, arguments.attention_weights)
    with torch.inference_mode():
        expected = ms_deform_attn(arguments.value, sizes, None, *rest)
    value = arguments.value.clone().requires_grad_()
    ms_deform_attn(value, sizes, None, *rest).sum().backward()
    traced = make_fx(
        lambda value, *rest: ms_deform_attn(value, sizes, None, *rest), tracing_mode="fake"
    )(arguments.value, *rest)
    assert torch.equal(traced(arguments.value, *rest), expected)


@native
def test_a_plain_call_equals_the_operators(arguments):
    """Without the dispatcher: the same bits, forward and backward, also in inference mode."""
    results = []
    for call in (ms_deform_attn, ms_deform_attn_operator):
        leaves = arguments.with_grad()
        output = call(*leaves)
        output.square().sum().backward()
        with torch.inference_mode():
            inferred = call(*arguments)
        results.append((output, inferred, leaves.value.grad, leaves.sampling_locations.grad))
    for found, expected in zip(*results, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_trace_takes_the_sizes_it_saw(arguments):
    """torch.jit.trace gives sizes as tensors, as older exporters and counters need."""
    value, shapes, _, *rest = arguments
    images = [torch.zeros(pair) for pair in shapes.tolist()]

    def attend(value, *images):
        return ms_deform_attn(value, [each.shape for each in images], None, *rest)

    traced = torch.jit.trace(attend, (value, *images))
    torch.testing.assert_close(traced(value, *images), ms_deform_attn(*arguments))


def test_meta_tensors_give_a_shape(arguments):
    """No number is touched."""
    output = ms_deform_attn(*[t.to("meta") for t in arguments])
    assert output.is_meta
    assert output.shape == (2, 7, 16)


@native
def test_workers_forked_after_a_call_can_call(make_arguments):
    """A DataLoader's worker has one thread: it does not wait for those that the fork left."""
    arguments = make_arguments(queries=2000, heads=8, channels=32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        expected = ms_deform_attn(*arguments)
        loader = torch.utils.data.DataLoader(
            [0], collate_fn=lambda _: ms_deform_attn(*arguments), num_workers=1, timeout=60,
            multiprocessing_context="fork",
        )  # fmt: skip
        assert torch.equal(next(iter(loader)), expected)
    finally:
        torch.set_num_threads(before)
