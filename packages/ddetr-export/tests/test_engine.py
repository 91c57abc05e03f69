"""The TensorRT layer, against a fake that records calls; TensorRT itself never ran here."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import MagicMock

import onnx
import pytest

from ddetr_export.config import TrtEngineConfig
from ddetr_export.engine import EngineBuildError, build_engine


@pytest.fixture
def fake_tensorrt():
    """Make a module tensorrt of a version, whose objects note what is done to them."""

    def make(version: str) -> MagicMock:
        trt = MagicMock(name="tensorrt")
        trt.__version__ = version
        trt.NetworkDefinitionCreationFlag = SimpleNamespace(EXPLICIT_BATCH=0, STRONGLY_TYPED=1)
        network = trt.Builder.return_value.create_network.return_value
        network.num_inputs = 1
        network.get_input.return_value = SimpleNamespace(name="inputs", shape=(-1, 3, 24, 32))
        layers = [SimpleNamespace(name=name, precision=None) for name in ("conv1", "norm1")]
        network.num_layers, network.get_layer.side_effect = 2, layers.__getitem__
        trt.layers = layers
        trt.Builder.return_value.build_serialized_network.return_value = b"engine"
        return trt

    return make


def settings_of(trt):
    return trt.Builder.return_value.create_builder_config.return_value


def build(trt, onnx_file, folder, **tensorrt):
    timing_cache = str(folder / "timing.cache")
    config = TrtEngineConfig(tensorrt=tensorrt, timing_cache=timing_cache)
    cache = settings_of(trt).create_timing_cache.return_value
    cache.serialize.return_value = b"timings"
    return build_engine(onnx_file, folder / "model.engine", config, trt=trt)


def test_batches_workspace_and_caches_reach_the_builder(toy_onnx, fake_tensorrt, tmp_path) -> None:
    """The profile has the three batches, memory is in MiB, the engine and the timings are kept."""
    trt = fake_tensorrt("10.9.0")
    report = build(
        trt,
        toy_onnx(),
        tmp_path,
        workspace_size=512,
        min_batch_size=1,
        opt_batch_size=4,
        max_batch_size=8,
    )
    profile = trt.Builder.return_value.create_optimization_profile.return_value
    sizes = [(batch, 3, 24, 32) for batch in (1, 4, 8)]
    profile.set_shape.assert_called_once_with("inputs", *sizes)
    workspace = trt.MemoryPoolType.WORKSPACE
    settings_of(trt).set_memory_pool_limit.assert_called_once_with(workspace, 512 * 2**20)
    trt.init_libnvinfer_plugins.assert_called_once()
    assert (tmp_path / "model.engine").read_bytes() == b"engine"
    assert (tmp_path / "timing.cache").read_bytes() == b"timings"
    assert (report.data_type, report.batch_sizes) == ("FP32", (1, 4, 8))


@pytest.mark.parametrize(("version", "network_flags"), [("8.6.1", 1), ("10.9.0", 0), ("11.0.0", 2)])
def test_each_version_gets_its_kind_of_network(
    toy_onnx, fake_tensorrt, tmp_path, version, network_flags
) -> None:
    """8.6 asks for explicit batches, 11 for strong types."""
    trt = fake_tensorrt(version)
    build(trt, toy_onnx(), tmp_path)
    trt.Builder.return_value.create_network.assert_called_once_with(network_flags)


def test_half_precision_is_a_flag_only_before_version_11(toy_onnx, fake_tensorrt, tmp_path) -> None:
    """From 11 on the parser is given a half-precision file, and no flag is set."""
    for version, flags in (("10.9.0", 1), ("11.0.0", 0)):
        trt = fake_tensorrt(version)
        build(trt, toy_onnx(), tmp_path, data_type="fp16")
        assert settings_of(trt).set_flag.call_count == flags
        (content,) = trt.OnnxParser.return_value.parse.call_args.args
        onnx.checker.check_model(onnx.load_from_string(content))


def test_layers_keep_the_precision_that_is_asked_for(toy_onnx, fake_tensorrt, tmp_path) -> None:
    """A pattern sets the layers it matches and leaves the others."""
    trt = fake_tensorrt("10.9.0")
    build(trt, toy_onnx(), tmp_path, data_type="FP16", layers_precision=["norm*:fp32"])
    assert [layer.precision for layer in trt.layers] == [None, trt.DataType.FLOAT]


@pytest.mark.parametrize(
    ("version", "settings", "message"),
    [
        ("10.9.0", {"layers_precision": ["norm1"]}, "layer:fp32"),
        ("10.9.0", {"layers_precision": ["absent:fp32"]}, "names no layer"),
        ("11.0.0", {"layers_precision": ["norm1:fp32"]}, "not possible in TensorRT 11"),
        ("11.0.0", {"data_type": "BF16"}, "BF16 is not available"),
        ("10.9.0", {"data_type": "INT8"}, "cal_image_dir"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(
    toy_onnx, fake_tensorrt, tmp_path, version, settings, message
) -> None:
    """Nothing that is asked for is left out in silence."""
    with pytest.raises(ValueError, match=message):
        build(fake_tensorrt(version), toy_onnx(), tmp_path, **settings)


def test_a_fixed_batch_must_be_the_engines(toy_onnx, fake_tensorrt, tmp_path) -> None:
    """A file of batch 3 gives no engine for 1 to 8 images."""
    with pytest.raises(ValueError, match="exported with batch_size 3"):
        build(fake_tensorrt("10.9.0"), toy_onnx(batch=3), tmp_path, max_batch_size=8)


def test_tensorrts_own_words_are_passed_on(toy_onnx, fake_tensorrt, tmp_path) -> None:
    """A parser's complaint and an engine that was not built are errors; an old engine stays."""
    (tmp_path / "model.engine").write_bytes(b"old")
    trt = fake_tensorrt("10.9.0")
    parser = trt.OnnxParser.return_value
    parser.parse.return_value, parser.num_errors = False, 1
    parser.get_error.return_value.desc.return_value = "no importer for NonZero"
    with pytest.raises(EngineBuildError, match="no importer for NonZero"):
        build(trt, toy_onnx(), tmp_path)
    trt = fake_tensorrt("10.9.0")
    trt.Builder.return_value.build_serialized_network.return_value = None
    with pytest.raises(EngineBuildError, match="built no engine"):
        build(trt, toy_onnx(), tmp_path)
    assert (tmp_path / "model.engine").read_bytes() == b"old"


def test_without_tensorrt_the_error_says_how_to_get_it(toy_onnx, tmp_path, monkeypatch) -> None:
    """One sentence names the extra; a missing file is said before that."""
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(ValueError, match=r"ddetr-export\[tensorrt\]"):
        build_engine(toy_onnx(), tmp_path / "model.engine", TrtEngineConfig())
    with pytest.raises(FileNotFoundError, match=r"absent\.onnx"):
        build_engine(tmp_path / "absent.onnx", tmp_path / "model.engine", TrtEngineConfig())
