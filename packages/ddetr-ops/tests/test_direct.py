"""Calls that go past the dispatcher: which may, and that nothing is misread on the way."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

from ddetr_ops import _native, ms_deform_attn, ms_deform_attn_reference
from ddetr_ops._direct import can_call_directly
from ddetr_ops._operator import ms_deform_attn_operator

pytestmark = [
    pytest.mark.skipif(
        bool(_native.problem_on("cpu")), reason=_native.problem_on("cpu") or "native"
    ),
    pytest.mark.skipif(
        not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"),
        reason="this torch publishes no table of DLPack's",
    ),
]


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
def test_plain_tensors_are_read_where_they_are(make_arguments, dtype):
    """Any dtype, an offset into the storage, parameters."""
    arguments = make_arguments(dtype=dtype)
    expected = _native.forward_cpu(*arguments)
    assert torch.equal(_native.forward_tensors(*arguments), expected)
    value, *rest = arguments
    part = torch.cat([value.flatten()[:3], value.flatten()])[3:].view(value.shape)
    assert torch.equal(_native.forward_tensors(part, *rest), expected)
    assert torch.equal(_native.forward_tensors(nn.Parameter(value), *rest), expected)
    upstream = torch.randn_like(expected)
    gradients = _native.backward_tensors(upstream, *arguments)
    for found, wanted in zip(gradients, _native.backward_cpu(upstream, *arguments), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("form", OTHER_FORMS)
@pytest.mark.parametrize("place", [0, 3, 4])
def test_other_forms_take_the_long_way(arguments, form, place):
    """They are not read by their memory, and give what the reference gives."""
    arguments = list(arguments)
    arguments[place] = OTHER_FORMS[form](arguments[place])
    assert _native.forward_tensors(*arguments) is None
    expected = ms_deform_attn_reference(*arguments)
    torch.testing.assert_close(ms_deform_attn(*arguments), expected, rtol=1e-5, atol=1e-5)


def test_what_disagrees_is_left_to_words(arguments):
    """The kernels do not run on it."""
    value, shapes, starts, locations, weights = arguments
    wrong = [
        (value[:, 1:].contiguous(), shapes, starts, locations, weights),
        (value, shapes.float(), starts, locations, weights),
        (value, shapes.int(), starts, locations, weights),
        (value, shapes, starts + 1, locations, weights),
        (value, shapes, None, locations, weights),
        (value, shapes, starts, locations[0], weights),
        (value, shapes, starts, locations.double(), weights),
        (value, shapes, starts, locations, weights[:, :0]),
        (value, shapes, starts, locations, "weights"),
        (value.to("meta"), shapes, starts, locations, weights),
        (value.to_sparse(), shapes, starts, locations, weights),
    ]
    output = _native.forward_tensors(*arguments)
    for inputs in wrong:
        assert _native.forward_tensors(*inputs) is None
        assert _native.backward_tensors(output, *inputs) is None
    for upstream in (output[:1], output.double(), output[0], output.expand_as(output).mT, None):
        assert _native.backward_tensors(upstream, *arguments) is None


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
        tangent = forward_ad.unpack_dual(ms_deform_attn_reference(dual, *rest)).tangent
        assert tangent.abs().sum() > 0


@pytest.mark.filterwarnings("ignore::FutureWarning:torch.jit", "ignore::DeprecationWarning")
def test_who_watches_calls_sees_the_operator(arguments):
    """A dispatch mode (fake tensors, counters), autocast and torch.func get the operator."""
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(function)
            return function(*args, **(kwargs or {}))

    with Watch():
        ms_deform_attn(*arguments)
    assert ms_deform_attn_operator in seen
    assert can_call_directly()
    with torch.autocast("cpu"):
        assert not can_call_directly()
    during = []
    torch.func.grad(lambda x: during.append(can_call_directly()) or x)(torch.ones(()))
    torch.jit.trace(lambda x: during.append(can_call_directly()) or x, torch.ones(()))
    assert during[:2] == [False, False]
    assert can_call_directly()
