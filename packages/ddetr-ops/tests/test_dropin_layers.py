"""mmcv's, GroundingDINO's and the original's layer under their names, arguments and keys."""

from __future__ import annotations

import inspect
import pickle

import pytest
import torch
import torch.nn.functional as F

from ddetr_ops import MSDeformAttn
from ddetr_ops.dropin import groundingdino, mmcv, original

SHAPES = torch.tensor([(4, 6), (2, 3)])
STARTS = torch.tensor([0, 24])
KEYS = {
    f"{part}.{kind}"
    for part in ("sampling_offsets", "attention_weights", "value_proj", "output_proj")
    for kind in ("weight", "bias")
}
MAKERS = {
    "mmcv": lambda **options: mmcv.MultiScaleDeformableAttention(32, 4, 2, 3, **options),
    "groundingdino": lambda **options: groundingdino.MultiScaleDeformableAttention(
        32, 4, 2, 3, **options
    ),
}


def randomised(layer):
    """Weights that matter, so that no two ways agree by chance."""
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return layer


@pytest.fixture
def inputs():
    """Images first."""
    return {
        "query": torch.randn(2, 5, 32),
        "value": torch.randn(2, 30, 32),
        "query_pos": torch.randn(2, 5, 32),
        "reference_points": torch.rand(2, 5, 2, 2),
        "spatial_shapes": SHAPES,
        "level_start_index": STARTS,
    }


def queries_first(inputs):
    turned = {"query", "value", "query_pos", "identity", "residual"}
    return {
        name: tensor.transpose(0, 1) if name in turned else tensor
        for name, tensor in inputs.items()
    }


def plain(layer, inputs, mask=None):
    """What the published layer gives for these, images first, by this package's own."""
    own = MSDeformAttn(32, 2, 4, 3)
    own.load_state_dict(layer.state_dict())
    query = inputs["query"] + inputs["query_pos"]
    rest = (inputs["reference_points"], inputs["value"], SHAPES, STARTS, mask)
    return own(query, *rest)


def test_arguments_have_the_projects_names():
    """In their order, with their defaults."""
    # fault 57
    built = inspect.signature(mmcv.MultiScaleDeformableAttention)
    assert {name: each.default for name, each in built.parameters.items()} == {
        "embed_dims": 256,
        "num_heads": 8,
        "num_levels": 4,
        "num_points": 4,
        "im2col_step": 64,
        "dropout": 0.1,
        "batch_first": False,
        "norm_cfg": None,
        "init_cfg": None,
        "value_proj_ratio": 1.0,
    }
    built = inspect.signature(groundingdino.MultiScaleDeformableAttention)
    assert {name: each.default for name, each in built.parameters.items()} == {
        "embed_dim": 256,
        "num_heads": 8,
        "num_levels": 4,
        "num_points": 4,
        "img2col_step": 64,
        "batch_first": False,
    }
    keys = ("query_pos", "key_padding_mask", "reference_points", "spatial_shapes")
    for module, identity in ((mmcv, ("identity",)), (groundingdino, ())):
        called = list(inspect.signature(module.MultiScaleDeformableAttention.forward).parameters)
        head = ["self", "query", "key", "value", *identity]
        assert called == [*head, *keys, "level_start_index", "kwargs"]
    called = list(inspect.signature(original.MSDeformAttn.forward).parameters)
    flat = [f"input_{name}" for name in ("flatten", "spatial_shapes", "level_start_index")]
    assert called == ["self", "query", "reference_points", *flat, "input_padding_mask"]


@pytest.mark.parametrize("project", MAKERS)
def test_a_layer_has_the_published_keys_and_start(project):
    """A checkpoint fits, and an untrained layer starts as the published one."""
    layer, own = MAKERS[project](), MSDeformAttn(32, 2, 4, 3)
    assert set(layer.state_dict()) == KEYS
    for name in ("sampling_offsets", "attention_weights"):
        ours, theirs = getattr(own, name), getattr(layer, name)
        assert torch.equal(ours.weight, theirs.weight)
        assert torch.equal(ours.bias, theirs.bias)
    randomised(layer).init_weights()
    assert torch.equal(layer.sampling_offsets.bias, own.sampling_offsets.bias)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_groundingdinos_layer_adds_nothing(inputs, batch_first, boxes, masked):
    """In either order, with points or boxes as references, and a mask of bools or bytes."""
    layer = randomised(MAKERS["groundingdino"](batch_first=batch_first))
    if boxes:
        inputs["reference_points"] = torch.rand(2, 5, 2, 4)
    mask = torch.rand(2, 30) < 0.3 if masked else None
    expected = plain(layer, inputs, mask)
    given = inputs if batch_first else queries_first(inputs)
    for each in (mask, None if mask is None else mask.to(torch.uint8)):
        found = layer(**given, key=None, key_padding_mask=each)
        found = found if batch_first else found.transpose(0, 1)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("name", [None, "identity", "residual"])
def test_mmcvs_layer_adds_the_identity(inputs, batch_first, name):
    """The query before its position where none is given; residual is its old name."""
    layer = randomised(MAKERS["mmcv"](batch_first=batch_first)).eval()
    expected = plain(layer, inputs) + inputs["query"]
    if name:
        inputs[name] = torch.randn(2, 5, 32)
        expected += inputs[name] - inputs["query"]
    given = inputs if batch_first else queries_first(inputs)
    if name == "residual":
        with pytest.warns(DeprecationWarning, match="identity"):
            found = layer(**given)
    else:
        found = layer(**given)
    found = found if batch_first else found.transpose(0, 1)
    torch.testing.assert_close(found, expected)


def test_identity_and_its_old_name_together_are_refused(inputs):
    """Nobody could tell which is meant."""
    layer = MAKERS["mmcv"](batch_first=True)
    with pytest.raises(TypeError, match="residual"):
        layer(**inputs, identity=inputs["query"], residual=inputs["query"])


def test_mmcvs_dropout_falls_on_the_output_alone(inputs):
    """In training; the identity stays whole."""
    layer = randomised(MAKERS["mmcv"](batch_first=True, dropout=1.0))
    assert torch.equal(layer(**inputs), inputs["query"])
    assert set(layer.state_dict()) == KEYS


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_mmcv_may_sample_other_channels(inputs, ratio):
    """value_proj_ratio changes two projections, and the layer trains."""
    layer = MAKERS["mmcv"](batch_first=True, value_proj_ratio=ratio, dropout=0.0)
    assert layer.value_proj.weight.shape == (32 * ratio, 32)
    assert layer.output_proj.weight.shape == (32, 32 * ratio)
    assert not layer.output_proj.bias.any()
    output = layer(**inputs)
    assert output.shape == (2, 5, 32)
    output.square().sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


@pytest.mark.parametrize("project", MAKERS)
def test_what_is_not_given_is_the_query(inputs, project):
    """Value without its position, as in the encoder; level starts follow from the sizes."""
    layer = randomised(MAKERS[project](batch_first=True)).eval()
    query, position = torch.randn(2, 30, 32), torch.randn(2, 30, 32)
    rest = {"reference_points": torch.rand(2, 30, 2, 2), "spatial_shapes": SHAPES}
    found = layer(query, query_pos=position, **rest)
    whole = layer(
        query, query, query, query_pos=position, level_start_index=STARTS, other=1, **rest
    )
    assert torch.equal(found, whole)


@pytest.mark.parametrize("project", MAKERS)
@pytest.mark.parametrize("missing", ["reference_points", "spatial_shapes"])
def test_what_cannot_be_missing_is_named(inputs, project, missing):
    """The text names the argument."""
    inputs[missing] = None
    with pytest.raises(TypeError, match=missing):
        MAKERS[project](batch_first=True)(**inputs)


@pytest.mark.parametrize("project", MAKERS)
def test_a_mistaken_order_is_refused(inputs, project):
    """Queries first where images first were promised do not fit the levels."""
    inputs["value"] = inputs["value"][:, :-1]
    with pytest.raises(ValueError, match="29 pixels"):
        MAKERS[project](batch_first=True)(**inputs)


def test_impossible_channels_are_refused():
    """Heads that do not divide them."""
    with pytest.raises(ValueError, match="multiple of n_heads"):
        groundingdino.MultiScaleDeformableAttention(30, 4)
    with pytest.raises(ValueError, match="value_proj_ratio = 31"):
        mmcv.MultiScaleDeformableAttention(30, 3, value_proj_ratio=1.05)


def test_groundingdino_freezes_two_projections():
    """By the names that its training calls."""
    layer = MAKERS["groundingdino"]()
    layer.freeze_sampling_offsets()
    layer.freeze_attention_weights()
    trained = {name for name, each in layer.named_parameters() if each.requires_grad}
    assert trained == {key for key in KEYS if "proj" in key}


def test_the_originals_layer_takes_its_arguments(inputs):
    """input_spatial_shapes and its like, by position and by name, with a mask."""
    layer = randomised(original.MSDeformAttn(32, 2, 4, 3))
    mask = torch.rand(2, 30) < 0.3
    query = inputs["query"] + inputs["query_pos"]
    found = layer(
        query,
        inputs["reference_points"],
        inputs["value"],
        input_spatial_shapes=SHAPES,
        input_level_start_index=STARTS,
        input_padding_mask=mask,
    )
    torch.testing.assert_close(found, plain(layer, inputs, mask))


@pytest.mark.parametrize("project", MAKERS)
def test_layers_are_pickled_and_run_in_bfloat16(inputs, project):
    """As part of a model that somebody else saves, or casts."""
    layer = randomised(MAKERS[project](batch_first=True)).eval()
    expected = layer(**inputs)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(**inputs), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(**inputs)
    assert F.cosine_similarity(found.float().flatten(), expected.flatten(), dim=0) > 0.999
