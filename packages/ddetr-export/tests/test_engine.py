"""The TensorRT layer, against a fake made from its bindings; TensorRT itself never ran here."""

from __future__ import annotations

import json
import sys

import numpy as np
import onnx
import pytest

from ddetr_export import open_detector
from ddetr_export.config import TrtEngineConfig
from ddetr_export.tensorrt import Cuda, EngineBuildError, build_engine


def settings_of(trt):
    return trt.Builder.return_value.create_builder_config.return_value


def build(trt, onnx_file, folder, *, encryption_key=None, cuda=None, **tensorrt):
    options = {key: tensorrt.pop(key) for key in ("gpu_id", "input_width") if key in tensorrt}
    timing_cache = str(folder / "timing.cache")
    config = TrtEngineConfig(tensorrt=tensorrt, timing_cache=timing_cache, **options)
    return build_engine(
        onnx_file,
        folder / "model.engine",
        config,
        encryption_key=encryption_key,
        trt=trt,
        cuda=cuda,
    )


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
    assert (tmp_path / "model.engine").read_bytes() == toy_onnx().read_bytes()
    assert (tmp_path / "timing.cache").read_bytes() == b"timings"
    assert (report.data_type, report.batch_sizes) == ("FP32", (1, 4, 8))


@pytest.mark.parametrize("refused_by", ["create_timing_cache", "set_timing_cache"])
def test_timings_of_another_gpu_start_anew(
    toy_onnx, fake_tensorrt, tmp_path, caplog, refused_by
) -> None:
    """TensorRT gives no cache, or does not take it; then it gets an empty one."""
    (tmp_path / "timing.cache").write_bytes(b"another GPU's")
    trt = fake_tensorrt()
    settings, kept = settings_of(trt), b"another GPU's"
    fresh = settings.create_timing_cache.return_value
    if refused_by == "create_timing_cache":
        settings.create_timing_cache.side_effect = lambda blob: None if blob == kept else fresh
    else:
        settings.set_timing_cache.side_effect = [False, True]
    build(trt, toy_onnx(), tmp_path)
    settings.create_timing_cache.assert_called_with(b"")
    settings.set_timing_cache.assert_called_with(fresh, False)
    assert (tmp_path / "timing.cache").read_bytes() == b"timings"
    assert "starts anew" in caplog.text


@pytest.mark.parametrize(("version", "network_flags"), [("8.6.1", 1), ("10.9.0", 2), ("11.0.0", 1)])
def test_each_version_gets_its_kind_of_network(
    toy_onnx, fake_tensorrt, tmp_path, version, network_flags
) -> None:
    """8.6 asks for explicit batches; from 10 on the file's number formats are binding."""
    trt = fake_tensorrt(version)
    build(trt, toy_onnx(), tmp_path)
    trt.Builder.return_value.create_network.assert_called_once_with(network_flags)


def test_half_precision_is_a_flag_only_before_version_10(toy_onnx, fake_tensorrt, tmp_path) -> None:
    """Later the parser is given a half-precision file, and no flag is set."""
    for version, flags in (("8.6.1", 2), ("10.9.0", 0), ("11.0.0", 0)):
        trt = fake_tensorrt(version)
        build(trt, toy_onnx(), tmp_path, data_type="fp16")
        assert settings_of(trt).set_flag.call_count == flags
        (content,) = trt.OnnxParser.return_value.parse.call_args.args
        onnx.checker.check_model(onnx.load_from_string(content))


def test_bfloat_is_a_flag_in_version_10(toy_onnx, fake_tensorrt, tmp_path) -> None:
    """The network is then weakly typed, as the flag wants."""
    trt = fake_tensorrt("10.9.0")
    build(trt, toy_onnx(), tmp_path, data_type="BF16")
    assert settings_of(trt).set_flag.call_args_list[0].args == (trt.BuilderFlag.BF16,)
    trt.Builder.return_value.create_network.assert_called_once_with(0)


def test_layers_keep_the_precision_that_is_asked_for(toy_onnx, fake_tensorrt, tmp_path) -> None:
    """By flags the builder is told, and the plugin is never left to compute locations in half."""
    trt = fake_tensorrt("8.6.1")
    build(trt, toy_onnx(), tmp_path, data_type="FP16", layers_precision=["norm*:fp32"])
    full = trt.DataType.FLOAT
    assert [layer.precision for layer in trt.layers] == [None, full, full]


def test_a_plugin_of_version_2_keeps_its_precision(toy_onnx, fake_tensorrt, tmp_path) -> None:
    """From 10.11 on the plugin's layer has another type; it stays at 32 bit all the same."""
    trt = fake_tensorrt("10.11.0")
    trt.layers[2].type = trt.LayerType.PLUGIN_V3
    build(trt, toy_onnx(), tmp_path, data_type="BF16")
    assert [layer.precision for layer in trt.layers] == [None, None, trt.DataType.FLOAT]


def test_layers_of_a_typed_file_are_its_nodes(fakes, toy_onnx, fake_tensorrt, tmp_path) -> None:
    """From version 10 on a rule is written into the ONNX file, by the names of its nodes."""
    model = onnx.load(toy_onnx())
    for node in model.graph.node:
        node.name = f"node_{node.output[0]}"
    (tmp_path / "named.onnx").write_bytes(model.SerializeToString())
    trt = fake_tensorrt("11.0.0")
    build(trt, tmp_path / "named.onnx", tmp_path, layers_precision=["node_pred_log*:fp16"])
    sent = onnx.load_from_string(fakes.parsed(trt))
    (node,) = (each for each in sent.graph.node if each.name == "node_pred_logits")
    assert node.output[0] == "pred_logits_fp16"


@pytest.mark.parametrize(
    ("version", "settings", "message"),
    [
        ("10.9.0", {"layers_precision": ["norm1"]}, "layer:fp32"),
        ("8.6.1", {"layers_precision": ["absent:fp32"]}, "names no layer"),
        ("11.0.0", {"layers_precision": ["absent:fp32"]}, "names no layer"),
        ("11.0.0", {"layers_precision": ["*:int8"]}, "needs data_type INT8"),
        ("10.9.0", {"gpu_id": 3}, "gpu_id 3 is not on this machine, which has 1"),
        ("11.0.0", {"data_type": "BF16"}, "BF16 is not available"),
        ("8.6.1", {"data_type": "BF16"}, "TensorRT 8.6.1 has no data_type BF16"),
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
    trt.Builder.return_value.build_serialized_network.side_effect = None
    trt.Builder.return_value.build_serialized_network.return_value = None
    with pytest.raises(EngineBuildError, match="built no engine"):
        build(trt, toy_onnx(), tmp_path)
    assert (tmp_path / "model.engine").read_bytes() == b"old"


def test_without_tensorrt_the_error_says_how_to_get_it(toy_onnx, tmp_path, monkeypatch) -> None:
    """One sentence names the extra; a missing file is said before that."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ValueError, match=r"pip install 'ddetr-export\[tensorrt\]'"):
        build_engine(toy_onnx(), tmp_path / "model.engine", TrtEngineConfig())
    with pytest.raises(FileNotFoundError, match=r"absent\.onnx"):
        build_engine(tmp_path / "absent.onnx", tmp_path / "model.engine", TrtEngineConfig())


def test_the_gpu_is_the_one_asked_for(fakes, toy_onnx, fake_tensorrt, tmp_path) -> None:
    """gpu_id chooses the device before TensorRT starts."""
    runtime = fakes.CudaRuntime(gpus=4)
    build(fake_tensorrt(), toy_onnx(), tmp_path, gpu_id=3, cuda=Cuda(runtime))
    assert runtime.device == 3


def test_sizes_that_do_not_count_are_told(toy_onnx, fake_tensorrt, tmp_path) -> None:
    """The ONNX file has its own input size; another one in the spec is a notice."""
    report = build(fake_tensorrt(), toy_onnx(), tmp_path, input_width=960)
    assert report.notices == (
        "gen_trt_engine.input_width=960 does not count: the ONNX file has 32",
    )


def test_eight_bits_of_a_quantized_file_need_no_images(
    fakes, toy_onnx, fake_tensorrt, tmp_path
) -> None:
    """A file that was exported with int8_qdq goes to the parser as it is."""
    model = onnx.load(toy_onnx())
    for name, inputs in (("QuantizeLinear", "mean"), ("DequantizeLinear", "small")):
        output = "small" if name == "QuantizeLinear" else "unused"
        model.graph.node.append(onnx.helper.make_node(name, [inputs, "scale"], [output]))
    scale = onnx.numpy_helper.from_array(np.float32(1), "scale")
    model.graph.initializer.append(scale)
    (tmp_path / "pairs.onnx").write_bytes(model.SerializeToString())
    trt = fake_tensorrt("11.0.0")
    build(trt, tmp_path / "pairs.onnx", tmp_path, data_type="INT8")
    assert fakes.parsed(trt) == (tmp_path / "pairs.onnx").read_bytes()


def images(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(2)
    return [random.integers(0, 255, (40, 50, 3), np.uint8) for _ in range(count)]


@pytest.mark.parametrize(("least", "most"), [(1, 4), (2, 2), (3, 8)])
def test_an_engine_detects_as_its_onnx_file(toy_onnx, fake_tensorrt, tmp_path, least, most) -> None:
    """Any number of images, below and above what the engine takes at once."""
    build(
        fake_tensorrt(),
        toy_onnx(),
        tmp_path,
        min_batch_size=least,
        opt_batch_size=most,
        max_batch_size=most,
    )
    detector = open_detector(tmp_path / "model.engine")
    assert detector.batch_size == most
    assert detector.providers == ("TensorRT 10.9.0",)
    expected = open_detector(toy_onnx()).predict(images(5))
    for found, other in zip(detector.predict(images(5)), expected, strict=True):
        np.testing.assert_allclose(found.boxes_xyxy, other.boxes_xyxy, rtol=1e-5)
        np.testing.assert_array_equal(found.labels, other.labels)
    with pytest.raises(ValueError, match=rf"takes {least} to {most} images|exported with batch"):
        open_detector(tmp_path / "model.engine", batch_size=9)


def test_an_engine_says_what_it_is(toy_onnx, fake_tensorrt, tmp_path) -> None:
    """Its notes hold classes, precision and the profile read back; without them it stops."""
    report = build(fake_tensorrt(), toy_onnx(), tmp_path, data_type="fp16", max_batch_size=3)
    notes = json.loads((tmp_path / "model.engine.json").read_text("utf-8"))
    assert (notes["data_type"], notes["batch_sizes"]) == ("FP16", [1, 1, 3])
    assert report.batch_sizes == (1, 1, 3)
    assert [each.name for each in open_detector(report.path).categories] == ["red cell", "platelet"]
    (tmp_path / "model.engine.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model\.engine\.json beside it"):
        open_detector(report.path)


def test_an_engine_of_another_machine_is_refused(toy_onnx, fake_tensorrt, tmp_path) -> None:
    """TensorRT gives no engine for a file that it did not build; that becomes a sentence."""
    trt = fake_tensorrt()
    path = build(trt, toy_onnx(), tmp_path).path
    trt.Runtime.return_value.deserialize_cuda_engine.side_effect = lambda _content: None
    with pytest.raises(ValueError, match="an engine runs only where it was built"):
        open_detector(path)


def test_with_a_key_engine_notes_and_caches_are_locked(toy_onnx, fake_tensorrt, tmp_path) -> None:
    """No class name and no weight stands in clear in what is written."""
    report = build(fake_tensorrt(), toy_onnx(), tmp_path, encryption_key="open sesame")
    assert report.path.name == "model.engine.enc"
    written = {path.name for path in tmp_path.iterdir()} - {"toy.onnx"}
    assert written == {"model.engine.enc", "model.engine.json.enc", "timing.cache"}
    for name in written:
        assert b"red cell" not in (tmp_path / name).read_bytes()
    detector = open_detector(report.path, encryption_key="open sesame")
    assert len(detector.predict(images(2))) == 2


@pytest.mark.gpu
@pytest.mark.parametrize("data_type", ["FP32", "FP16"])
@pytest.mark.parametrize("on_cpu", [True, False])
def test_the_real_tensorrt_detects_as_onnx_runtime(
    make_checkpoint, tmp_path, data_type, on_cpu
) -> None:
    """On a machine with TensorRT: standard operators and plugin nodes give the same scores."""
    pytest.importorskip("tensorrt")
    from ddetr_export import ExportConfig, export_onnx

    settings = {"on_cpu": on_cpu, "sampling": "gather", "opset_version": 17}
    config = ExportConfig(input_height=64, input_width=96, **settings)
    path = export_onnx(make_checkpoint(), tmp_path / "model.onnx", config).path
    wanted = TrtEngineConfig(tensorrt={"data_type": data_type, "max_batch_size": 4})
    engine = build_engine(path, tmp_path / "model.engine", wanted).path
    tolerance = 1e-3 if data_type == "FP32" else 5e-2
    expected = open_detector(path, providers=["CPUExecutionProvider"]).predict(images(3))
    for found, other in zip(open_detector(engine).predict(images(3)), expected, strict=True):
        np.testing.assert_allclose(found.scores, other.scores, atol=tolerance)
