"""The compiled extension's two functions, and the name under which projects import them."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import Function, gradcheck
from torch.autograd.function import once_differentiable

from ddetr_ops import ms_deform_attn, ms_deform_attn_reference
from ddetr_ops.dropin import install, mmcv, original

NAME = "MultiScaleDeformableAttention"
NEAR = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}


class Extension(Function):
    """How projects wrap the two functions."""

    @staticmethod
    def forward(ctx, value, shapes, starts, locations, weights, step):
        ctx.step = step
        ctx.save_for_backward(value, shapes, starts, locations, weights)
        return original.ms_deform_attn_forward(value, shapes, starts, locations, weights, step)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        found = original.ms_deform_attn_backward(*ctx.saved_tensors, gradient, ctx.step)
        of_value, of_locations, of_weights = found
        return of_value, None, None, of_locations, of_weights, None


def differentiated(function, arguments):
    """Output and the three gradients of a sum of squares."""
    leaves = arguments.with_grad()
    output = function(*leaves)
    output.square().sum().backward()
    points = (leaves.sampling_locations.grad, leaves.attention_weights.grad)
    return output.detach(), leaves.value.grad, *points


def assert_near(found, expected, dtype):
    """To rounding, relative to the largest number."""
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        scale = float(other.abs().max()) if other.numel() else 1.0
        torch.testing.assert_close(one, other, rtol=0, atol=NEAR[dtype] * max(scale, 1.0))


@pytest.mark.parametrize("dtype", NEAR)
def test_a_project_gets_the_operators_numbers(make_arguments, dtype):
    """Output and gradients, through an autograd function of its own."""
    # fault 57
    arguments = make_arguments(dtype=dtype)
    found = differentiated(lambda *tensors: Extension.apply(*tensors, 64), arguments)
    assert_near(found, differentiated(ms_deform_attn_reference, arguments), dtype)


@given(
    batch=st.integers(0, 5),
    queries=st.integers(0, 6),
    heads=st.integers(1, 3),
    channels=st.sampled_from([1, 2, 5, 8, 30, 32, 71]),
    points=st.integers(1, 5),
    step=st.integers(1, 70),
    shapes=st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_any_sizes_equal_the_reference(make_arguments, step, seed, **sizes):
    """Also batches that no step divides, which the compiled extension refuses."""
    arguments = make_arguments(**sizes, seed=seed)
    found = differentiated(lambda *tensors: Extension.apply(*tensors, step), arguments)
    assert_near(found, differentiated(ms_deform_attn_reference, arguments), torch.float32)


@pytest.mark.parametrize("channels", [30, 32, 64, 71])
def test_the_derivative_is_the_outputs(make_arguments, channels):
    """gradcheck in float64, for odd numbers of channels too."""
    arguments = make_arguments(
        ((6, 4), (3, 2)),
        batch=1,
        queries=2,
        heads=2,
        channels=channels,
        points=2,
        dtype=torch.float64,
    ).with_grad()
    assert gradcheck(lambda *tensors: Extension.apply(*tensors, 2), tuple(arguments))


def test_tensors_need_not_be_contiguous(arguments):
    """Each argument and the gradient may be any view."""
    expected = differentiated(ms_deform_attn, arguments)
    upstream = 2 * expected[0]
    views = [
        tensor if tensor.dim() < 4 else tensor.transpose(1, 2).contiguous().transpose(1, 2)
        for tensor in arguments
    ]
    assert not views[0].is_contiguous()
    assert torch.equal(original.ms_deform_attn_forward(*views, 64), expected[0])
    upstream = upstream.transpose(0, 1).contiguous().transpose(0, 1)
    found = original.ms_deform_attn_backward(*views, upstream, 64)
    assert_near(found, expected[1:], torch.float32)


def test_an_expanded_gradient_is_fine(arguments):
    """That of output.sum(), which has one number in memory."""
    output = original.ms_deform_attn_forward(*arguments, 64)
    ones = torch.ones(()).expand(output.shape)
    found = original.ms_deform_attn_backward(*arguments, ones, 64)
    expected = original.ms_deform_attn_backward(*arguments, torch.ones_like(output), 64)
    assert all(map(torch.equal, found, expected))


def test_gradients_are_a_list_of_three(arguments):
    """As pybind gives a vector of tensors; they have no graph, nor has the output."""
    leaves = arguments.with_grad()
    output = original.ms_deform_attn_forward(*leaves, 64)
    gradients = original.ms_deform_attn_backward(*leaves, torch.ones_like(output), 64)
    assert isinstance(gradients, list)
    assert len(gradients) == 3
    assert not any(tensor.requires_grad for tensor in (output, *gradients))


def test_sixteen_bit_value_beside_wide_locations(make_arguments):
    """As under autocast: each gradient has its tensor's dtype."""
    arguments = make_arguments(dtype=torch.bfloat16)
    gradient = torch.ones(2, 7, 16)  # of the wide output that a project makes of it
    of_value, *of_points = original.ms_deform_attn_backward(*arguments, gradient, 64)
    assert of_value.dtype == torch.bfloat16
    assert [tensor.dtype for tensor in of_points] == [torch.float32, torch.float32]


@pytest.mark.parametrize(
    ("step", "error"), [(0, ValueError), (-3, ValueError), (2.5, TypeError), (None, TypeError)]
)
def test_a_step_that_is_no_number_of_images_is_refused(arguments, step, error):
    """0 would divide by zero in the compiled extension."""
    with pytest.raises(error):
        original.ms_deform_attn_forward(*arguments, step)


@pytest.mark.parametrize("step", [1, 3, 64, np.int64(2), torch.tensor(2)])
def test_any_step_gives_the_same(arguments, step):
    """It says how many images one launch takes, and changes no number."""
    expected = ms_deform_attn(*arguments)
    assert torch.equal(original.ms_deform_attn_forward(*arguments, step), expected)
    assert torch.equal(
        original.ms_deform_attn_forward(
            value=arguments.value,
            spatial_shapes=arguments.spatial_shapes,
            level_start_index=arguments.level_start_index,
            sampling_loc=arguments.sampling_locations,
            attn_weight=arguments.attention_weights,
            im2col_step=step,
        ),
        expected,
    )


@pytest.mark.parametrize("spoilt", ["shape", "type", "device"])
def test_a_wrong_gradient_is_named(arguments, spoilt):
    """It is compared with the output that it belongs to."""
    gradient = torch.ones(2, 7, 16)
    wrong = {"shape": gradient[:1], "type": None, "device": gradient.to("meta")}[spoilt]
    with pytest.raises((ValueError, TypeError), match="grad_output"):
        original.ms_deform_attn_backward(*arguments, wrong, 64)


@pytest.mark.parametrize("spoilt", range(5))
def test_a_wrong_argument_is_named_in_both_directions(arguments, spoilt):
    """None of them reaches a kernel."""
    tensors = list(arguments)
    tensors[spoilt] = tensors[spoilt][1:]
    gradient = torch.ones(2, 7, 16)
    for call in (
        lambda: original.ms_deform_attn_forward(*tensors, 64),
        lambda: original.ms_deform_attn_backward(*tensors, gradient, 64),
    ):
        with pytest.raises(ValueError, match="must"):
            call()


def test_a_projects_function_compiles(arguments):
    """torch.compile traces it forward and backward without a break."""

    def loss(value, *rest):
        return Extension.apply(value, *rest, 64).square().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    gradients = []
    for function in (loss, compiled):
        leaves = arguments.with_grad()
        function(*leaves).backward()
        gradients.append((leaves.value.grad, leaves.attention_weights.grad))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


def test_tensors_without_numbers_have_shapes(arguments):
    """Meta tensors, as models are planned with; no number is asked for."""
    tensors = [tensor.to("meta") for tensor in arguments]
    output = original.ms_deform_attn_forward(*tensors, 64)
    gradients = original.ms_deform_attn_backward(*tensors, output, 64)
    assert (output.shape, output.device.type) == ((2, 7, 16), "meta")
    assert [each.shape for each in gradients] == [tensors[index].shape for index in (0, 3, 4)]


@pytest.mark.filterwarnings("ignore::UserWarning")  # the fake tensors' device may be missing
def test_on_a_gpu_everything_stays_there(arguments):
    """Fake CUDA tensors through the operators that the functions call where there is a driver."""
    operators = torch.ops.ddetr_ops
    with FakeTensorMode():
        tensors = [torch.empty(it.shape, dtype=it.dtype, device="cuda") for it in arguments]
        output = operators.ms_deform_attn(*tensors)
        gradients = operators.ms_deform_attn_backward(output, *tensors)
    assert {each.device.type for each in (output, *gradients)} == {"cuda"}


def test_mmcvs_extension_writes_into_its_callers_tensors(arguments):
    """With a keyword for the step, and nothing returned."""
    output = mmcv.ms_deform_attn_forward(*arguments, im2col_step=64)
    expected = original.ms_deform_attn_backward(*arguments, output, 64)
    memory = [torch.zeros_like(tensor) for tensor in expected]
    assert mmcv.ms_deform_attn_backward(*arguments, output, *memory, im2col_step=64) is None
    assert all(map(torch.equal, memory, expected))


@pytest.fixture
def no_extension(monkeypatch):
    """Nothing of that name is imported; what a test puts there goes away."""
    for name in (NAME, "groundingdino", "groundingdino._C"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.delitem(sys.modules, name)


def test_nothing_of_that_name_is_there_unasked(no_extension):
    """The package brings no module of another project's."""
    # fault 57
    assert NAME not in sys.modules
    found = importlib.util.find_spec(NAME)
    assert found is None or "ddetr" not in str(found.origin)


def test_install_answers_an_import(no_extension, arguments):
    """Of the extension's name, with its two functions; once more changes nothing."""
    # fault 57
    (module,) = install()
    assert importlib.import_module(NAME) is module
    assert install() == (module,)
    expected = ms_deform_attn(*arguments)
    assert torch.equal(module.ms_deform_attn_forward(*arguments, 64), expected)
    assert module.ms_deform_attn_backward is original.ms_deform_attn_backward


def test_another_projects_name_may_be_asked_for(no_extension, monkeypatch):
    """GroundingDINO imports its extension from its package, which may be there before or after."""
    (module,) = install("groundingdino._C")
    package = ModuleType("groundingdino")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "groundingdino", package)
    scope: dict[str, object] = {}
    exec("from groundingdino import _C", scope)
    assert scope["_C"] is module


def test_what_was_imported_stays_unless_asked(no_extension, monkeypatch):
    """Those who hold it would run on two implementations."""
    theirs = ModuleType(NAME)
    monkeypatch.setitem(sys.modules, NAME, theirs)
    with pytest.raises(ImportError, match="was imported already, from memory"):
        install()
    assert sys.modules[NAME] is theirs
    (module,) = install(replace=True)
    assert sys.modules[NAME] is module is not theirs


def test_the_extension_of_mmcv_is_refused(no_extension):
    """mmcv takes a hundred functions from it."""
    with pytest.raises(ImportError, match=r"take the layer of ddetr_ops\.dropin\.mmcv"):
        install("mmcv._ext")
