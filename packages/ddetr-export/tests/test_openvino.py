"""OpenVINO as the runtime of an exported file, on files made without torch."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from PIL import Image

from ddetr_data.extras import MissingExtraError
from ddetr_data.files import EncryptionError, WrongKeyError
from ddetr_export import open_detector
from ddetr_export.onnx import PLUGIN_OP, seal, write_model

IS_MISSING = importlib.util.find_spec("openvino") is None
installed = pytest.mark.skipif(IS_MISSING, reason="the extra [openvino] is not installed")
# Both sum in float32, in orders of their own; the toy's sums are of 2304 pixels.
TOLERANCE = 1e-5
PIXEL_TOLERANCE = 1e-3
KEY = "open sesame"


def images(count: int = 5) -> list[Image.Image]:
    """Of several sizes and shapes, which the file's own stretches or fills up."""
    random = np.random.default_rng(3)
    sizes = [(40, 30), (30, 40), (64, 48), (9, 200), (320, 240)]
    return [
        Image.fromarray(random.integers(0, 255, (height, width, 3), np.uint8))
        for width, height in (sizes * count)[:count]
    ]


def assert_same(found, expected) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_allclose(one.scores, other.scores, atol=TOLERANCE)
        np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, atol=PIXEL_TOLERANCE)


@installed
@pytest.mark.parametrize(("batch", "batch_size"), [("batch", 1), ("batch", 2), (1, 1), (3, 3)])
def test_the_detections_are_those_of_onnx_runtime(toy_onnx, batch, batch_size) -> None:
    """Dynamic and fixed batches, one that is filled up, and what the file says about itself."""
    path = toy_onnx(batch=batch)
    expected = open_detector(path, batch_size=batch_size, runtime="onnxruntime")
    found = open_detector(path, batch_size=batch_size, runtime="openvino")
    assert_same(found.predict(images()), expected.predict(images()))
    assert found.categories == expected.categories
    assert found.preprocess_config == expected.preprocess_config
    assert found.batch_size == expected.batch_size


@installed
def test_an_encrypted_file_is_read_in_memory(toy_onnx) -> None:
    """The same detections with the key, nothing new on the disk, and the same refusals."""
    path = toy_onnx().with_name("locked.onnx.enc")
    write_model(path, toy_onnx().read_bytes(), KEY)
    before = sorted(path.parent.iterdir())
    found = open_detector(path, KEY, runtime="openvino").predict(images())
    assert sorted(path.parent.iterdir()) == before
    assert_same(found, open_detector(toy_onnx()).predict(images()))
    with pytest.raises(EncryptionError, match="is encrypted: set encryption_key"):
        open_detector(path, runtime="openvino")
    with pytest.raises(WrongKeyError, match="another one was used"):
        open_detector(path, "open says me", runtime="openvino")


@installed
def test_float32_is_stated(toy_onnx) -> None:
    """OpenVINO itself would take bf16 where the processor has it."""
    detector = open_detector(toy_onnx(), runtime="openvino")
    assert detector.providers[0].startswith("OpenVINO ")
    assert detector.providers[0].endswith("(CPU, fp32)")
    assert detector.description.endswith("(CPU, fp32)")
    assert detector.notices == ()


@installed
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_precision_that_the_processor_lacks_is_told(toy_onnx, precision) -> None:
    """It runs in another one then; the detector says in which it really runs."""
    detector = open_detector(toy_onnx(), runtime="openvino", precision=precision)
    is_done = detector.providers[0].endswith(f"(CPU, {precision})")
    assert (detector.notices == ()) == is_done
    if not is_done:
        assert f"OpenVINO has no {precision} on this processor" in detector.notices[0]
    exact = open_detector(toy_onnx()).predict(images())
    for one, other in zip(detector.predict(images()), exact, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=0.05)


@installed
def test_several_threads_may_share_a_detector(toy_onnx) -> None:
    """Each gets the answer for its own image."""
    detector = open_detector(toy_onnx(), runtime="openvino")
    several = images() * 4
    expected = [detector.predict([image])[0] for image in several]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda image: detector.predict([image])[0], several))
    assert_same(found, expected)


@installed
def test_a_damaged_file_is_refused(toy_onnx, tmp_path) -> None:
    """By the digest, as for ONNX Runtime, whatever OpenVINO would make of it."""
    whole = seal(onnx.load(toy_onnx())).SerializeToString()
    path = tmp_path / "sealed.onnx"
    for index in range(5, len(whole), 61):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 4]) + whole[index + 1 :])
        with pytest.raises(ValueError, match=r"sealed\.onnx"):
            open_detector(path, runtime="openvino")


def with_plugin(model: onnx.ModelProto) -> None:
    node = model.graph.node[2]
    node.op_type, node.domain = PLUGIN_OP, "nvidia"
    model.opset_import.append(onnx.helper.make_opsetid("nvidia", 1))


def with_weights_elsewhere(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")


def with_nan(model: onnx.ModelProto) -> None:
    table = np.full((1, 5, 3), np.nan, np.float32)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(table, "logit_table"))


def with_another_size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 40


def with_unknown_node(model: onnx.ModelProto) -> None:
    model.graph.node[2].op_type = "Nonesuch"


def without_metadata(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


@installed
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_plugin, "does not accept .*TensorRT plugin; export with on_cpu=true, or rewrite"),
        (with_weights_elsewhere, "its weights are in other files"),
        (with_nan, "its weights hold NaN"),
        (with_another_size, r"metadata say \(batch, 3, 24, 32\)"),
        (with_unknown_node, "does not accept .*Nonesuch"),
        (without_metadata, "does not carry the metadata"),
    ],
)
def test_what_cannot_run_is_refused_in_one_sentence(toy_onnx, change, message) -> None:
    """It names the file, and what to do where there is something."""
    path = toy_onnx()
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=message) as told:
        open_detector(path, runtime="openvino")
    assert "toy.onnx" in str(told.value)
    assert "\n" not in str(told.value)


@installed
@pytest.mark.parametrize("content", [b"", b"no model", b"<?xml version='1.0'?><net/>", b"\x08\x07"])
def test_what_is_no_onnx_file_is_refused(tmp_path, content) -> None:
    """OpenVINO's own formats too: they hold nothing that a detector needs."""
    path = tmp_path / "text.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"OpenVINO does not accept .*text\.onnx"):
        open_detector(path, runtime="openvino")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "bf16"}, "precision is for checkpoints and for runtime=openvino"),
        ({"runtime": "onnxruntime", "precision": "fp16"}, "computes as it was exported"),
        ({"runtime": "tvm"}, "runtime must be one of auto, onnxruntime, openvino, got 'tvm'"),
        ({"runtime": "openvino", "precision": "int8"}, "precision must be one of fp32, bf16, fp16"),
        pytest.param(
            {"runtime": "openvino", "providers": ["CPUExecutionProvider"]},
            "providers are ONNX Runtime's",
            marks=installed,
        ),
    ],
)
def test_wrong_arguments_are_refused(toy_onnx, arguments, message) -> None:
    """Nothing that was asked for is passed over."""
    with pytest.raises(ValueError, match=message):
        open_detector(toy_onnx(), **arguments)


def test_an_engine_has_its_own_runtime(tmp_path) -> None:
    """Asking for another one is refused before the file is looked at."""
    with pytest.raises(ValueError, match=r"runtime is for ONNX files: TensorRT runs .*m\.engine"):
        open_detector(tmp_path / "m.engine", runtime="openvino")


def test_without_openvino_its_extra_is_named(toy_onnx, monkeypatch) -> None:
    """One sentence, with the command that installs it."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ddetr-export\[openvino\]'"):
        open_detector(toy_onnx(), runtime="openvino")


@installed
def test_a_detection_asks_no_network_and_leaves_nothing(toy_onnx, tmp_path) -> None:
    """Its import would tell a collector of it, with an id that it keeps in the home folder."""
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys\n"
        "told = []\n"
        "sys.addaudithook(lambda name, _: told.append(name) if name.startswith('socket.') else 0)\n"
        "import numpy, ddetr_export\n"
        f"detector = ddetr_export.open_detector({str(toy_onnx())!r}, runtime='openvino')\n"
        "assert len(detector.predict([numpy.zeros((20, 20, 3), numpy.uint8)])[0]) == 4\n"
        "sent = [name for name in told if name not in ('socket.gethostname', 'socket.__new__')]\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'ddetr_model', 'openvino_telemetry.main'}\n"
        "print(sent, sorted(heavy & set(sys.modules)), 'openvino_telemetry' in sys.modules)\n"
    )
    names = ("HOME", "XDG_CACHE_HOME", "TMPDIR")
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | dict.fromkeys(names, str(home)),
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == "[] [] False\n"
    assert answer.stderr == ""
    assert list(home.rglob("*")) == []
