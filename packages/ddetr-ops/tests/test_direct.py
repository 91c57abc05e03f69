"""Calls that go past the dispatcher: which may, and that nothing is misread on the way."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

from ddetr_ops import doctor, ms_deform_attn, ms_deform_attn_reference

DIAGNOSIS = doctor(self_test=False)
ELSEWHERE = DIAGNOSIS.problems["cpu"] or " ".join(DIAGNOSIS.detours)
pytestmark = pytest.mark.skipif(bool(ELSEWHERE), reason=ELSEWHERE or "direct")
FORWARD, BACKWARD = "ddetr_ops::ms_deform_attn", "ddetr_ops::ms_deform_attn_backward"
ms_deform_attn_operator = torch.ops.ddetr_ops.ms_deform_attn.default


class Marked(torch.Tensor):
    """A tensor class of somebody else's."""


OTHER_FORMS = {
    "strided": lambda tensor: torch.stack([tensor, tensor], -1)[..., 0],
    "expanded": lambda tensor: tensor[:1].expand(tensor.shape),
    "lazily negated": lambda tensor: torch._neg_view(-tensor),
    "subclass": lambda tensor: tensor.as_subclass(Marked),
    "zeros without memory": lambda tensor: torch._efficientzerotensor(tensor.shape),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_plain_tensors_are_read_where_they_are(make_arguments, dispatched, dtype):
    """Any dtype, an offset into the storage, parameters; sizes as a tensor or as ints."""
    arguments = make_arguments(dtype=dtype)
    expected = ms_deform_attn_operator(*arguments)
    value, shapes, starts, *points = arguments
    part = torch.cat([value.flatten()[:3], value.flatten()])[3:].view(value.shape)
    sizes = [tuple(pair) for pair in shapes.tolist()]
    calls = [
        (value, shapes, starts, *points),
        (part, shapes, starts, *points),
        (nn.Parameter(value), shapes, starts, *points),
        (value, sizes, None, *points),
    ]
    outputs = []
    assert not dispatched(lambda: outputs.extend(ms_deform_attn(*call) for call in calls))
    assert all(torch.equal(output, expected) for output in outputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_gradients_of_plain_tensors_go_the_same_way(make_arguments, dispatched, dtype):
    """They are the operator's to the bit, which goes through the dispatcher."""
    direct, operator = (make_arguments(dtype=dtype).with_grad() for _ in range(2))
    assert not dispatched(lambda: ms_deform_attn(*direct).square().sum().backward())
    watched = dispatched(lambda: ms_deform_attn_operator(*operator).square().sum().backward())
    assert watched == {FORWARD, BACKWARD}
    for found, expected in zip(direct, operator, strict=True):
        assert found.grad is None or torch.equal(found.grad, expected.grad)


@pytest.mark.parametrize("form", OTHER_FORMS)
@pytest.mark.parametrize("index", [0, 3, 4])
def test_other_forms_take_the_long_way(arguments, dispatched, form, index):
    """They are not read by their memory, and give what the reference gives."""
    arguments, outputs = list(arguments), []
    arguments[index] = OTHER_FORMS[form](arguments[index])
    assert dispatched(lambda: outputs.append(ms_deform_attn(*arguments))) == {FORWARD}
    expected = ms_deform_attn_reference(*arguments)
    torch.testing.assert_close(outputs[0], expected, rtol=1e-5, atol=1e-5)


def test_a_lazily_negated_gradient_is_not_misread(make_arguments):
    """PyTorch may hand on the negatives of a gradient's numbers, and a bit that says so."""
    gradients = []
    for make in (torch.neg, torch._neg_view):
        leaves = make_arguments().with_grad()
        output = ms_deform_attn(*leaves)
        output.backward(make(torch.ones_like(output)))
        gradients.append([leaves.value.grad, leaves.attention_weights.grad])
    for found, expected in zip(*gradients, strict=True):
        assert torch.equal(found, expected)


def test_several_gradients_at_once(make_arguments):
    """is_grads_batched runs the backward pass under vmap."""
    leaves = make_arguments().with_grad()
    output = ms_deform_attn(*leaves)
    upstream = torch.randn(3, *output.shape)
    inputs = (leaves.value, leaves.sampling_locations, leaves.attention_weights)
    batched = torch.autograd.grad(
        output, inputs, upstream, is_grads_batched=True, retain_graph=True
    )
    for k, each in enumerate(upstream):
        single = torch.autograd.grad(output, inputs, each, retain_graph=True)
        for found, expected in zip(batched, single, strict=True):
            torch.testing.assert_close(found[k], expected)


@pytest.mark.filterwarnings("ignore::FutureWarning:torch.jit")
@pytest.mark.parametrize("grad_mode", [torch.enable_grad, torch.no_grad])
def test_forward_mode_is_refused(arguments, grad_mode):
    """A dual tensor's tangent is not dropped in silence."""
    value, *rest = arguments
    with grad_mode(), forward_ad.dual_level():
        dual = forward_ad.make_dual(value, torch.ones_like(value))
        with pytest.raises(NotImplementedError, match="call ms_deform_attn_reference"):
            ms_deform_attn(dual, *rest)


def test_the_reference_has_forward_mode(arguments):
    """What the operator refuses, the reference does, where PyTorch's grid_sample can."""
    value, *rest = arguments
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(value, torch.ones_like(value))
        try:
            output = ms_deform_attn_reference(dual, *rest)
        except NotImplementedError as error:
            assert "grid_sampler" in str(error)  # noqa: PT017
            pytest.skip(f"grid_sample of torch {torch.__version__} has no forward mode")
        assert forward_ad.unpack_dual(output).tangent.abs().sum() > 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_who_watches_calls_sees_the_operator(arguments, dispatched):
    """A dispatch mode (fake tensors, counters), a trace, torch.func, autocast that must widen."""
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(function)
            return function(*args, **(kwargs or {}))

    value, *rest = arguments

    def attend(value):
        return ms_deform_attn(value, *rest)

    with Watch():
        attend(value)
    assert ms_deform_attn_operator in seen
    shapes, starts, *points = rest
    halves = [tensor.to(torch.bfloat16) for tensor in points]
    with torch.autocast("cpu"):
        assert FORWARD in dispatched(lambda: ms_deform_attn(value, shapes, starts, *halves))
        assert not dispatched(lambda: attend(value.to(torch.bfloat16)))
    assert dispatched(lambda: torch.func.vmap(attend)(value[None])) == {FORWARD}
    assert dispatched(lambda: torch.jit.trace(attend, value, check_trace=False)) == {FORWARD}
    assert not dispatched(lambda: attend(value))
