"""The attention layer: published names and start, masks, boxes, autocast."""

from __future__ import annotations

import pytest
import torch

from ddetr_ops import MSDeformAttn, ms_deform_attn

SHAPES = [(4, 6), (2, 3)]


@pytest.fixture
def layer():
    return MSDeformAttn(d_model=32, n_levels=2, n_heads=4, n_points=3)


@pytest.fixture
def inputs():
    sizes = torch.tensor(SHAPES)
    return {
        "query": torch.randn(2, 5, 32),
        "reference_points": torch.rand(2, 5, 2, 2),
        "input_flatten": torch.randn(2, 30, 32),
        "spatial_shapes": sizes,
        "level_start_index": torch.tensor([0, 24]),
    }


def points_of(layer, inputs):
    """Locations and weights that the layer hands to its core."""
    seen = []
    layer.core = lambda *arguments: seen.extend(arguments[3:]) or ms_deform_attn(*arguments)
    layer(**inputs)
    del layer.core
    return seen


def test_parameters_have_the_published_names(layer):
    """A published checkpoint's keys fit."""
    parts = ("sampling_offsets", "attention_weights", "value_proj", "output_proj")
    names = {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}
    assert set(layer.state_dict()) == names


def test_heads_start_in_different_directions(layer):
    """Head m looks along its angle, point p is p + 1 pixels away, on every level."""
    bias = layer.sampling_offsets.bias.detach().view(4, 2, 3, 2)
    expected = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    for point in range(3):
        for level in range(2):
            torch.testing.assert_close(bias[:, level, point], expected * (point + 1))
    assert not layer.sampling_offsets.weight.any()
    assert not layer.attention_weights.weight.any()


def test_weights_start_even(layer, inputs):
    """Attention is uniform over levels and points before training."""
    _, weights = points_of(layer, inputs)
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / 6))


def test_output_has_the_querys_shape(layer, inputs):
    """(B, Q, C) in, (B, Q, C) out, with a gradient for every parameter."""
    output = layer(**inputs)
    assert output.shape == (2, 5, 32)
    output.square().sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_an_empty_batch_goes_through(layer, inputs):
    """No images in, no images out, and the parameters' gradients are zero."""
    for name in ("query", "reference_points", "input_flatten"):
        inputs[name] = inputs[name][:0]
    output = layer(**inputs)
    assert output.shape == (0, 5, 32)
    output.sum().backward()
    assert not layer.value_proj.weight.grad.any()


def test_python_sizes_equal_tensor_sizes(layer, inputs):
    """Levels may be given as ints, without start indices."""
    expected = layer(**inputs)
    inputs.update(spatial_shapes=SHAPES, level_start_index=None)
    torch.testing.assert_close(layer(**inputs), expected)


def test_padded_pixels_do_not_count(layer, inputs):
    """What lies under the padding mask cannot change the output."""
    mask = torch.zeros(2, 30, dtype=torch.bool)
    mask[:, [5, 11, 17, 23, 26, 29]] = True
    expected = layer(**inputs, padding_mask=mask)
    inputs["input_flatten"] = inputs["input_flatten"].clone()
    inputs["input_flatten"][mask] = 1e4
    torch.testing.assert_close(layer(**inputs, padding_mask=mask), expected)


def test_box_references_scale_the_offsets(layer, inputs):
    """With (cx, cy, w, h) an offset of n_points reaches the border of the box."""
    inputs["reference_points"] = torch.tensor([0.5, 0.5, 0.2, 0.4]).expand(2, 5, 2, 4)
    locations, _ = points_of(layer, inputs)
    right = locations[0, 0, 0, 0, 2]
    torch.testing.assert_close(right, torch.tensor([0.6, 0.5]))


def test_autocast_keeps_locations_in_float32(layer, inputs):
    """bfloat16 autocast changes the answer by bfloat16's error only."""
    expected = layer(**inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        locations, _ = points_of(layer, inputs)
        output = layer(**inputs)
    assert locations.dtype == torch.float32
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), expected, atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ({"d_model": 30, "n_heads": 4}, "multiple of n_heads"),
        ({"n_points": 0}, "at least 1"),
    ],
)
def test_impossible_sizes_are_refused(sizes, text):
    """The constructor names what does not fit."""
    with pytest.raises(ValueError, match=text):
        MSDeformAttn(**sizes)


def test_three_reference_coordinates_are_refused(layer, inputs):
    """Only points and boxes make sense."""
    inputs["reference_points"] = torch.rand(2, 5, 2, 3)
    with pytest.raises(ValueError, match="reference_points must end in 2"):
        layer(**inputs)


def test_printing_names_the_sizes(layer):
    """repr shows the four sizes."""
    assert "d_model=32, n_levels=2, n_heads=4, n_points=3" in repr(layer)


def test_exports_with_any_batch_and_queries():
    """Neither size becomes a constant."""
    shapes = [(3, 4), (2, 2)]

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = MSDeformAttn(16, 2, 2, 2)

        def forward(self, query, references, pixels):
            return self.layer(query, references, pixels, shapes, None)

    def draw(batch, queries):
        return (
            torch.randn(batch, queries, 16),
            torch.rand(batch, queries, 2, 2),
            torch.randn(batch, 16, 16),
        )

    batch, queries = torch.export.Dim("batch", min=2), torch.export.Dim("queries", min=2)
    sizes = ({0: batch, 1: queries}, {0: batch, 1: queries}, {0: batch})
    layer = Layer().eval()
    program = torch.export.export(layer, draw(2, 5), dynamic_shapes=sizes)
    other = draw(3, 7)
    torch.testing.assert_close(program.module()(*other), layer(*other))
