"""patch(): models of other projects that are built already, here small ones under their names."""

from __future__ import annotations

import copy
import functools
import io
import pickle

import pytest
import torch
from torch import nn
from torch.autograd import Function

import ddetr_ops
from ddetr_ops import ms_deform_attn_reference

SHAPES = torch.tensor([(4, 6), (2, 3)])
STARTS = torch.tensor([0, 24])
INPUTS = (torch.randn(2, 5, 32), torch.rand(2, 5, 2, 2), torch.randn(2, 30, 32), SHAPES, STARTS)
theirs: list[str] = []  # which of the functions below were called


class MSDeformAttnFunction(Function):
    """Of the original; here in plain PyTorch, and counted."""

    @staticmethod
    def forward(
        ctx,
        value,
        value_spatial_shapes,
        value_level_start_index,
        sampling_locations,
        attention_weights,
        im2col_step,
    ):
        theirs.append("MSDeformAttnFunction")
        inputs = (value, value_spatial_shapes, value_level_start_index)
        ctx.save_for_backward(*inputs, sampling_locations, attention_weights)
        return ms_deform_attn_reference(*inputs, sampling_locations, attention_weights)

    @staticmethod
    def backward(ctx, gradient):
        value, shapes, starts, *points = ctx.saved_tensors
        leaves = [each.detach().requires_grad_() for each in (value, *points)]
        with torch.enable_grad():
            output = ms_deform_attn_reference(leaves[0], shapes, starts, *leaves[1:])
        of_value, *of_points = torch.autograd.grad(output, leaves, gradient)
        return of_value, None, None, *of_points, None


def multi_scale_deformable_attn_pytorch(
    value, value_spatial_shapes, sampling_locations, attention_weights
):
    """Of mmcv and GroundingDINO."""
    theirs.append("multi_scale_deformable_attn_pytorch")
    sizes = [tuple(pair) for pair in value_spatial_shapes.tolist()]
    return ms_deform_attn_reference(value, sizes, None, sampling_locations, attention_weights)


def multi_scale_deformable_attention_v2(
    value,
    value_spatial_shapes,
    sampling_locations,
    attention_weights,
    num_points_list,
    method="default",
):
    """Of transformers, for as many points on each level."""
    theirs.append("multi_scale_deformable_attention_v2")
    sizes = [tuple(pair) for pair in value_spatial_shapes.tolist()]
    levels = (len(num_points_list), num_points_list[0])
    points = (sampling_locations.unflatten(3, levels), attention_weights.unflatten(3, levels))
    return ms_deform_attn_reference(value, sizes, None, *points)


class _Projections(nn.Module):
    """What all these layers hold, and the inputs of their functions."""

    def __init__(self):
        super().__init__()
        self.sampling_offsets = nn.Linear(32, 4 * 2 * 3 * 2)
        self.attention_weights = nn.Linear(32, 4 * 2 * 3)
        self.value_proj = nn.Linear(32, 32)
        self.output_proj = nn.Linear(32, 32)

    def points(self, query, references):
        sizes = (*query.shape[:2], 4, 2, 3)
        offsets = self.sampling_offsets(query).view(*sizes, 2) / SHAPES.flip(1)[:, None]
        weights = self.attention_weights(query).flatten(2).unflatten(2, (4, 6)).softmax(-1)
        return references[:, :, None, :, None] + offsets, weights.view(sizes)


class Original(_Projections):
    """Calls the autograd function by its module's name, with a keyword argument as well."""

    def forward(self, query, references, pixels, shapes, starts):
        value = self.value_proj(pixels).unflatten(2, (4, 8))
        locations, weights = self.points(query, references)
        output = MSDeformAttnFunction.apply(value, shapes, starts, locations, weights, 64)
        return self.output_proj(output)


def decorated(function):
    """As mmcv's for old names of arguments."""

    @functools.wraps(function)
    def called(*arguments, **options):
        return function(*arguments, **options)

    return called


class Decorated(_Projections):
    """Chooses between the two functions, inside of a decorator and of an inner function."""

    @decorated
    def forward(self, query, references, pixels, shapes, starts, *, scale=1.0):
        value = self.value_proj(pixels).unflatten(2, (4, 8)) * scale
        points = self.points(query, references)

        def attend():
            if value.is_cuda:
                return MSDeformAttnFunction.apply(value, shapes, starts, *points, 64)
            return multi_scale_deformable_attn_pytorch(value, shapes, *points)

        return self.output_proj(attend())


class Descendant(Decorated):
    """Adds to what its base gives, as somebody's own version would."""

    def forward(self, query, *rest):
        return query + super().forward(query, *rest)


class HoldsFunction(_Projections):
    """Keeps its function, as D-FINE of transformers does."""

    def __init__(self):
        super().__init__()
        self.core = multi_scale_deformable_attention_v2

    def forward(self, query, references, pixels, shapes, starts):
        value = self.value_proj(pixels).unflatten(2, (4, 8))
        locations, weights = self.points(query, references)
        flat = (locations.flatten(3, 4), weights.flatten(3))
        return self.output_proj(self.core(value, shapes, *flat, [3, 3]))


class Model(nn.Module):
    """Two layers one after the other."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, query, *rest):
        for layer in self.layers:
            query = layer(query, *rest)
        return query


PROJECTS = [Original, Decorated, Descendant, HoldsFunction]


@pytest.fixture(autouse=True)
def _nobody_called():
    theirs.clear()


def gradients_of(model, inputs=INPUTS):
    """Output, and gradients of all parameters."""
    model.zero_grad()
    output = model(*inputs)
    output.square().sum().backward()
    return output.detach(), *(parameter.grad.clone() for parameter in model.parameters())


@pytest.mark.parametrize("layer", PROJECTS)
def test_outputs_and_gradients_stay(layer):
    """To rounding; nothing of theirs computes the attention any more."""
    # fault 57
    model = Model(layer(), layer())
    keys, before = list(model.state_dict()), gradients_of(model)
    parameters = list(model.parameters())
    assert theirs
    report = ddetr_ops.patch(model)
    theirs.clear()
    after = gradients_of(model)
    assert theirs == []
    for found, expected in zip(after, before, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert list(model.state_dict()) == keys
    assert all(one is other for one, other in zip(model.parameters(), parameters, strict=True))
    assert [each.path for each in report.replaced] == ["layers.0", "layers.1"]
    assert (report.kept, report.left) == ((), ())
    assert all(type(each).__name__ == layer.__name__ for each in model.layers)
    assert all(isinstance(each, layer) for each in model.layers)


@pytest.mark.parametrize("layer", PROJECTS)
def test_it_can_be_taken_back_and_done_twice(layer):
    """A second call finds all done; undo gives the very same classes and functions."""
    model = Model(layer())
    state = dict(vars(model.layers[0]))
    report = ddetr_ops.patch(model)
    again = ddetr_ops.patch(model)
    assert (len(again.replaced), len(again.kept)) == (0, 1)
    assert again
    again.undo()
    model(*INPUTS)
    assert theirs == []
    for _ in range(2):
        report.undo()
        assert type(model.layers[0]) is layer
        assert vars(model.layers[0]) == state
    model(*INPUTS)
    assert theirs


def test_undo_refuses_what_was_changed_since():
    """As by a wrapper that makes a class of its own."""
    model = Model(Original(), Original())
    report = ddetr_ops.patch(model)
    layer = model.layers[1]
    layer.__class__ = type("Wrapped", (type(layer),), {})
    with pytest.raises(RuntimeError, match=r"layers\.1 was changed after the patch"):
        report.undo()
    model(*INPUTS)
    assert theirs == []


@pytest.mark.parametrize("layer", PROJECTS)
def test_hooks_mode_and_dtype_stay(layer):
    """The layer is the same object with everything that it holds."""
    model = Model(layer()).double().eval()
    seen = []
    model.layers[0].register_forward_hook(lambda *_: seen.append("forward"))
    model.layers[0].value_proj.register_forward_pre_hook(lambda *_: seen.append("projection"))
    inputs = [each.double() if each.is_floating_point() else each for each in INPUTS]
    expected = model(*inputs)
    ddetr_ops.patch(model)
    seen.clear()
    torch.testing.assert_close(model(*inputs), expected)
    assert seen == ["projection", "forward"]
    assert not model.layers[0].training


def saved_and_loaded(model):
    """The whole model through a file."""
    memory = io.BytesIO()
    torch.save(model, memory)
    memory.seek(0)
    return torch.load(memory, weights_only=False)


COPIES = {
    "torch.save": saved_and_loaded,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "oldest pickle": lambda model: pickle.loads(pickle.dumps(model, 0)),
}


@pytest.mark.parametrize("layer", PROJECTS)
@pytest.mark.parametrize("way", COPIES)
def test_a_copy_is_patched_too(layer, way):
    """And does not share its parameters."""
    model = Model(layer())
    ddetr_ops.patch(model)
    copied = COPIES[way](model)
    assert torch.equal(copied(*INPUTS), model(*INPUTS))
    assert theirs == []
    assert not ddetr_ops.patch(copied).replaced
    ours, others = ({id(each) for each in it.parameters()} for it in (model, copied))
    assert ours.isdisjoint(others)


WRAPPED = {
    "DataParallel": lambda model: nn.DataParallel(model),
    "Sequential": lambda model: nn.Sequential(nn.ModuleDict({"inside": model})),
    "compiled": lambda model: torch.compile(model, backend="eager"),
}


@pytest.mark.parametrize("way", WRAPPED)
def test_wrapped_models_are_looked_into(way):
    """Whatever holds the layers."""
    model = Model(Original())
    report = ddetr_ops.patch(WRAPPED[way](model))
    assert report.replaced[0].path.endswith("layers.0")
    model(*INPUTS)
    assert theirs == []


@pytest.mark.parametrize("layer", PROJECTS)
def test_what_was_compiled_before_runs_the_change(layer):
    """The compiled code is made again, and may be made of a patched model."""
    model = Model(layer())
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        before = compiled(*INPUTS)
        ddetr_ops.patch(compiled)
        theirs.clear()
        after = compiled(*INPUTS)
        whole = torch.compile(model, backend="aot_eager", fullgraph=layer is not Decorated)(*INPUTS)
    assert theirs == []
    for found in (after, whole):
        torch.testing.assert_close(found, before, rtol=1e-4, atol=1e-4)


def test_another_model_of_the_project_stays_as_it_is():
    """Nothing of the project is changed, only the layers of this model."""
    patched, other = Model(Original()), Model(Original())
    ddetr_ops.patch(patched)
    other(*INPUTS)
    assert theirs
