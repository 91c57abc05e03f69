"""torch.func over the operators: grad, functional_call, vmap; what has no derivative is refused."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call, grad, hessian, jacrev, jvp, vmap

from ddetr_ops import MSDeformAttn, doctor, ms_deform_attn, ms_deform_attn_reference

PROBLEM = doctor(self_test=False).problems["cpu"]
pytestmark = pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM or "native")
SIZES = [(4, 6), (2, 3)]


def layer_inputs():
    """Queries, reference points and pixels (B = 2, Q = 5, C = 32)."""
    return torch.randn(2, 5, 32), torch.rand(2, 5, 2, 2), torch.randn(2, 30, 32)


def test_grad_equals_backward(arguments):
    """All three gradients at once, and through torch.compile."""
    value, shapes, starts, *points = arguments

    def loss(value, *points):
        return ms_deform_attn(value, shapes, starts, *points).square().sum()

    leaves = arguments.with_grad()
    ms_deform_attn(*leaves).square().sum().backward()
    derive = grad(loss, argnums=(0, 1, 2))
    compiled = torch.compile(derive, fullgraph=True, backend="aot_eager")
    for found in (derive(value, *points), compiled(value, *points)):
        wanted = (leaves.value, leaves.sampling_locations, leaves.attention_weights)
        for one, leaf in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, leaf.grad)


def test_the_layer_is_a_function_of_its_parameters():
    """functional_call inside grad reaches every parameter."""
    layer, inputs = MSDeformAttn(32, 2, 4, 3), layer_inputs()
    parameters = {name: it.detach() for name, it in layer.named_parameters()}
    found = grad(lambda p: functional_call(layer, p, (*inputs, SIZES, None)).square().sum())(
        parameters
    )
    layer(*inputs, SIZES, None).square().sum().backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


def test_vmap_equals_one_call_after_the_other(make_arguments):
    """Over value, locations and weights, each along another axis; also over their gradients."""
    calls = [make_arguments(seed=seed) for seed in range(3)]
    _, shapes, starts, _, _ = calls[0]
    stacked = (
        torch.stack([it.value for it in calls], 1),
        torch.stack([it.sampling_locations for it in calls], 2),
        torch.stack([it.attention_weights for it in calls], -1),
    )

    def attend(value, *points):
        return ms_deform_attn(value, shapes, starts, *points)

    outputs = vmap(attend, in_dims=(1, 2, 5), out_dims=1)(*stacked)
    derive = grad(lambda *tensors: attend(*tensors).square().sum(), argnums=(0, 1, 2))
    gradients = vmap(derive, in_dims=(1, 2, 5))(*stacked)
    for k, call in enumerate(calls):
        leaves = call.with_grad()
        expected = ms_deform_attn(*leaves)
        assert torch.equal(outputs[:, k], expected)
        expected.square().sum().backward()
        torch.testing.assert_close(gradients[0][k], leaves.value.grad)
        torch.testing.assert_close(gradients[1][k], leaves.sampling_locations.grad)


def test_vmap_gives_all_images_what_it_does_not_run_over(arguments):
    """One value for several sets of weights; no images at all are fine too."""
    value, shapes, starts, locations, weights = arguments
    many = torch.stack([weights, 2 * weights])
    run = vmap(lambda weights: ms_deform_attn(value, shapes, starts, locations, weights))
    torch.testing.assert_close(run(many)[1], 2 * ms_deform_attn(*arguments))
    nobody = vmap(lambda value, *points: ms_deform_attn(value, shapes, starts, *points))(
        value[None, :0], locations[None, :0], weights[None, :0]
    )
    assert nobody.shape == (1, 0, 7, 16)


def test_vmap_over_levels_is_refused(arguments):
    """They say how value is laid out; the text names the argument."""
    value, shapes, starts, *points = arguments
    with pytest.raises(ValueError, match="vmap cannot run over spatial_shapes"):
        vmap(lambda shapes: ms_deform_attn(value, shapes, starts, *points))(shapes[None])


def test_an_ensemble_of_layers_runs_at_once():
    """vmap over stacked parameters, through sampling_points and the operator."""
    layers, inputs = [MSDeformAttn(32, 2, 4, 3) for _ in range(3)], layer_inputs()
    parameters, _ = torch.func.stack_module_state(layers)
    outputs = vmap(lambda p: functional_call(layers[0], p, (*inputs, SIZES, None)))(parameters)
    for output, layer in zip(outputs, layers, strict=True):
        torch.testing.assert_close(output, layer(*inputs, SIZES, None))


def test_a_jacobian_equals_the_references(make_arguments):
    """jacrev runs vmap over the backward pass."""
    _, shapes, starts, locations, weights = arguments = make_arguments(queries=2, points=1)

    def jacobian(operator):
        return jacrev(lambda w: operator(arguments.value, shapes, starts, locations, w))(weights)

    torch.testing.assert_close(jacobian(ms_deform_attn), jacobian(ms_deform_attn_reference))


@pytest.mark.parametrize("of", ["value", "sampling_locations"])
def test_what_has_no_derivative_is_refused(arguments, of):
    """Forward mode, once silently zero, and second derivatives."""
    tensors = dict(arguments.__dict__)
    given = tensors.pop(of)

    def loss(tensor):
        return ms_deform_attn(**tensors, **{of: tensor}).square().sum()

    with pytest.raises(NotImplementedError, match=r"forward.mode"):
        jvp(loss, (given,), (given,))
    with pytest.raises(RuntimeError, match="pass backend='reference'"):
        grad(lambda tensor: grad(loss)(tensor).square().sum())(given)
    with pytest.raises(NotImplementedError, match=r"forward.mode"):
        hessian(loss)(given)
