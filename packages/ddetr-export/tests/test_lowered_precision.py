"""Half precision and 8 bit, written into the file."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from ddetr_export.config import CalibrationConfig
from ddetr_export.onnx import to_fp16
from ddetr_export.tensorrt import calibrate

# A few steps of 1/127 of the range on each of 27 products, after a norm: the worst of 1152 values.
EIGHT_BITS = 0.1


@pytest.fixture
def network_file(tmp_path, toy_onnx):
    """A convolution, a norm, a product with weights and a sigmoid, in a file of our kind."""
    random = np.random.default_rng(5)
    weights = {
        "kernel": random.normal(size=(4, 3, 3, 3)),
        "one": np.ones(4),
        "none": np.zeros(4),
        "matrix": 0.05 * random.normal(size=(32, 6)),
    }
    nodes = [
        helper.make_node("Conv", ["inputs", "kernel"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["positive"]),
        helper.make_node("InstanceNormalization", ["positive", "one", "none"], ["normed"]),
        helper.make_node("MatMul", ["normed", "matrix"], ["mixed"]),
        helper.make_node("Sigmoid", ["mixed"], ["outputs"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["batch", 3, 24, 32])],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, ["batch", 4, 24, 6])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model.metadata_props.extend(onnx.load(toy_onnx()).metadata_props)
    path = tmp_path / "network.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def run(content: bytes) -> np.ndarray:
    images = np.random.default_rng(6).uniform(-1.9, 1.9, (2, 3, 24, 32)).astype(np.float32)
    return onnxruntime.InferenceSession(content).run(None, {"inputs": images})[0]


def test_half_precision_stays_close_and_keeps_its_ends(network_file) -> None:
    """Convolution and product compute in half; norm, sigmoid, input and output do not."""
    model = to_fp16(onnx.load(network_file))
    onnx.checker.check_model(model, full_check=True)
    types = {each.name: each.data_type for each in model.graph.initializer}
    assert types == {
        "kernel_fp16": TensorProto.FLOAT16,
        "matrix_fp16": TensorProto.FLOAT16,
        "one": TensorProto.FLOAT,
        "none": TensorProto.FLOAT,
    }
    reads = {node.op_type: list(node.input) for node in model.graph.node}
    assert reads["InstanceNormalization"][0] == "positive"
    assert reads["Sigmoid"] == ["mixed"]
    found = run(model.SerializeToString())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, run(network_file.read_bytes()), atol=0.02)


@pytest.fixture
def image_folder(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(8)
    for index in range(3):
        pixels = random.integers(0, 255, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_calibration_writes_pairs_around_convolutions(network_file, image_folder) -> None:
    """The calibrated file computes nearly the same, in standard operators."""
    config = CalibrationConfig(cal_image_dir=str(image_folder), cal_batches=3)
    content = calibrate(network_file.read_bytes(), "network.onnx", config)
    model = onnx.load_from_string(content)
    operators = [node.op_type for node in model.graph.node]
    assert "QuantizeLinear" in operators
    assert {each.domain for each in model.opset_import} == {""}
    np.testing.assert_allclose(run(content), run(network_file.read_bytes()), atol=EIGHT_BITS)


def test_a_changed_file_makes_the_cache_anew(network_file, image_folder, tmp_path) -> None:
    """The cache is used for the same file and images, and for nothing else."""
    cache = tmp_path / "cache.bin"
    cache.write_bytes(b"another tool's cache")
    config = CalibrationConfig(cal_image_dir=str(image_folder), cal_cache_file=str(cache))
    first = calibrate(network_file.read_bytes(), "network.onnx", config)
    assert cache.read_bytes().endswith(first)
    marked = first + b"marked"
    cache.write_bytes(cache.read_bytes() + b"marked")
    assert calibrate(network_file.read_bytes(), "network.onnx", config) == marked
    (changed := onnx.load(network_file)).doc_string = "changed"
    network_file.write_bytes(changed.SerializeToString())
    assert b"marked" not in calibrate(network_file.read_bytes(), "network.onnx", config)


def test_calibration_says_what_it_lacks(network_file, tmp_path) -> None:
    """No folder, or one without images, is one clear error."""
    with pytest.raises(ValueError, match="cal_image_dir"):
        calibrate(network_file.read_bytes(), "network.onnx", CalibrationConfig())
    with pytest.raises(FileNotFoundError, match="no such image file or folder"):
        calibrate(
            network_file.read_bytes(),
            "network.onnx",
            CalibrationConfig(cal_image_dir=str(tmp_path / "absent")),
        )
