"""Plugin nodes: what TensorRT is promised, and the body that other runtimes run."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from ddetr_export.onnx import (
    PLUGIN_DOMAIN,
    PLUGIN_INPUTS,
    PLUGIN_OP,
    plugin_function,
    plugin_nodes,
    plugin_problems,
    to_standard,
)

SHAPES_HW = [(5, 7), (2, 3), (1, 1)]
PIXELS = sum(height * width for height, width in SHAPES_HW)
HEADS, CHANNELS, POINTS, QUERIES = 2, 4, 3, 6
TOLERANCE = 1e-5  # float32, coordinates up to 7 pixels


def plugin_model(opset: int = 12, *, spatial_shapes=None, starts=None, embed: bool = True):
    """One plugin node between three inputs and one output."""
    inputs = {
        "value": ["N", PIXELS, HEADS, CHANNELS],
        "sampling_locations": ["N", QUERIES, HEADS, len(SHAPES_HW), POINTS, 2],
        "attention_weights": ["N", QUERIES, HEADS, len(SHAPES_HW), POINTS],
    }
    constants = {
        "spatial_shapes": np.array(SHAPES_HW if spatial_shapes is None else spatial_shapes),
        "level_start_index": np.array([0, 35, 41] if starts is None else starts),
    }
    node = helper.make_node(
        PLUGIN_OP,
        PLUGIN_INPUTS,
        ["output"],
        domain=PLUGIN_DOMAIN,
        plugin_version="1",
        plugin_namespace="",
    )
    graph = helper.make_graph(
        [node],
        "plugin",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [
            helper.make_tensor_value_info(
                "output", TensorProto.FLOAT, ["N", QUERIES, HEADS, CHANNELS]
            )
        ],
        [numpy_helper.from_array(v.astype(np.int32), name) for name, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(PLUGIN_DOMAIN, 1)]
    functions = [plugin_function(opset, HEADS)] if embed else []
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)


def random_feeds(batch: int) -> dict[str, np.ndarray]:
    """Sampling locations inside, outside, on pixel centres and on edges."""
    random = np.random.default_rng(3)
    locations = random.uniform(-0.3, 1.3, (batch, QUERIES, HEADS, len(SHAPES_HW), POINTS, 2))
    locations.reshape(-1)[:8] = [0, 1, 0.5 / 7, 0.5 / 5, -3, 7, 1 + 0.5 / 7, 0.5]
    weights = random.uniform(size=locations.shape[:-1])
    value = random.normal(size=(batch, PIXELS, HEADS, CHANNELS))
    return {
        "value": value.astype(np.float32),
        "sampling_locations": locations.astype(np.float32),
        "attention_weights": weights.astype(np.float32),
    }


def sample_one_by_one(feeds: dict[str, np.ndarray]) -> np.ndarray:
    """The definition, in float64 and without any cleverness; (N, Q, M, D)."""
    value, locations, weights = (
        feeds[name].astype(np.float64)
        for name in ("value", "sampling_locations", "attention_weights")
    )
    output = np.zeros((*locations.shape[:3], CHANNELS))
    for n, q, m, level, p in np.ndindex(weights.shape):
        height, width = SHAPES_HW[level]
        start = sum(h * w for h, w in SHAPES_HW[:level])
        x, y = locations[n, q, m, level, p] * (width, height) - 0.5
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            for row in (int(np.floor(y)), int(np.floor(y)) + 1):
                if 0 <= column < width and 0 <= row < height:
                    corner_weight = (1 - abs(x - column)) * (1 - abs(y - row))
                    pixel = value[n, start + row * width + column, m]
                    output[n, q, m] += corner_weight * weights[n, q, m, level, p] * pixel
    return output


@pytest.mark.parametrize("opset", [11, 12, 17, 23])
def test_the_body_computes_the_definition(opset) -> None:
    """ONNX Runtime, which has no such plugin, gives the sums of the definition at any batch."""
    model = plugin_model(opset)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for batch in (1, 3):
        feeds = random_feeds(batch)
        (found,) = session.run(None, feeds)
        np.testing.assert_allclose(found, sample_one_by_one(feeds), atol=TOLERANCE)


def test_a_plugin_file_becomes_a_standard_one(tmp_path) -> None:
    """After to_standard no foreign node is left and the sums are the same."""
    for embed in (True, False):
        (tmp_path / "plugin.onnx").write_bytes(plugin_model(embed=embed).SerializeToString())
        to_standard(tmp_path / "plugin.onnx", tmp_path / "standard.onnx", overwrite=True)
        model = onnx.load(tmp_path / "standard.onnx")
        assert {node.domain for node in model.graph.node} == {""}
        assert [each.domain for each in model.opset_import] == [""]
        feeds = random_feeds(2)
        session = onnxruntime.InferenceSession(tmp_path / "standard.onnx")
        np.testing.assert_allclose(
            session.run(None, feeds)[0], sample_one_by_one(feeds), atol=TOLERANCE
        )


def test_to_standard_refuses_what_it_cannot_do(tmp_path) -> None:
    """A missing file, an existing target and a standard file are each one clear error."""
    source, target = tmp_path / "plugin.onnx", tmp_path / "standard.onnx"
    with pytest.raises(FileNotFoundError, match=r"plugin\.onnx"):
        to_standard(source, target)
    source.write_bytes(plugin_model().SerializeToString())
    to_standard(source, target)
    with pytest.raises(FileExistsError, match="exists"):
        to_standard(source, target)
    with pytest.raises(ValueError, match="standard already"):
        to_standard(target, tmp_path / "other.onnx")


def test_a_right_node_has_no_problem() -> None:
    """With and without the body the contract is kept."""
    assert plugin_problems(plugin_model()) == []
    assert plugin_problems(plugin_model(embed=False)) == []


def test_sampling_locations_may_be_a_constant() -> None:
    """With a fixed batch the first decoder layer's do not depend on the image; sizes count too."""
    for queries, is_right in ((QUERIES, True), (QUERIES + 1, False)):
        model = plugin_model(embed=False)
        shape = (2, queries, HEADS, len(SHAPES_HW), POINTS, 2)
        locations = numpy_helper.from_array(np.full(shape, 0.5, np.float32), "sampling_locations")
        model.graph.initializer.append(locations)
        del model.graph.input[1]
        assert (plugin_problems(model) == []) == is_right


def without_attribute(model) -> None:
    del next(plugin_nodes(model)).attribute[:]


def with_other_domain(model) -> None:
    next(plugin_nodes(model)).domain = "custom"
    model.opset_import[1].domain = "custom"


def with_int64_shapes(model) -> None:
    wide = numpy_helper.from_array(np.array(SHAPES_HW, np.int64), "spatial_shapes")
    model.graph.initializer[0].CopyFrom(wide)


def with_half_weights(model) -> None:
    model.graph.input[2].type.tensor_type.elem_type = TensorProto.FLOAT16


def without_last_input(model) -> None:
    del next(plugin_nodes(model)).input[4]


def with_unknown_pixels(model) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "S"


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (without_attribute, "attribute plugin_namespace must be a string"),
        (with_other_domain, "domain must be nvidia"),
        (with_int64_shapes, "must be INT32 initializers"),
        (with_half_weights, "must all be FLOAT or all FLOAT16"),
        (without_last_input, "must have 5 inputs and 1 output, has 4 and 1"),
        (with_unknown_pixels, "value must have 4 known sizes"),
    ],
)
def test_each_broken_promise_is_named(damage, problem) -> None:
    """What TensorRT would stumble over, or silently get wrong, is said in words."""
    model = plugin_model(embed=False)
    damage(model)
    assert any(problem in each for each in plugin_problems(model)), plugin_problems(model)


def test_sizes_that_disagree_are_named() -> None:
    """The plugin itself checks neither the number of pixels nor where the levels start."""
    (wrong_size,) = plugin_problems(plugin_model(spatial_shapes=[(5, 7), (2, 3), (1, 2)]))
    assert "cover 43 pixels, value has 42" in wrong_size
    (wrong_start,) = plugin_problems(plugin_model(starts=[0, 30, 41]))
    assert "not the running sum" in wrong_start


@pytest.fixture(scope="module")
def plugin_export(make_checkpoint, tmp_path_factory):
    """A small model exported for TensorRT."""
    from ddetr_export import ExportConfig, export_onnx

    config = ExportConfig(on_cpu=False, input_height=64, input_width=96, plugin_version="2")
    path = tmp_path_factory.mktemp("plugin") / "model.onnx"
    return export_onnx(make_checkpoint(), path, config).path


def test_a_whole_model_keeps_the_contract(plugin_export) -> None:
    """One node a deformable attention, by the names and constants that TensorRT's parser wants."""
    model = onnx.load(plugin_export)
    nodes = list(plugin_nodes(model))
    assert len(nodes) == 3
    assert plugin_problems(model) == []
    for node in nodes:
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        assert attributes == {"plugin_version": b"2", "plugin_namespace": b""}
    assert "GridSample" not in {node.op_type for node in model.graph.node}
    onnx.checker.check_model(model, full_check=True)


def test_a_whole_model_becomes_standard(plugin_export, tmp_path) -> None:
    """The converted file keeps the metadata and detects the same."""
    from ddetr_export import open_detector

    to_standard(plugin_export, tmp_path / "standard.onnx")
    images = [np.random.default_rng(1).integers(0, 255, (70, 80, 3), np.uint8)]
    (before,) = open_detector(plugin_export).predict(images)
    (after,) = open_detector(tmp_path / "standard.onnx").predict(images)
    np.testing.assert_allclose(before.scores, after.scores, atol=TOLERANCE)
