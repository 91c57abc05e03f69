"""`export --to-standard`, `gen_trt_engine` and `serve` from outside."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ddetr_cli.app import main
from ddetr_data.types import Category
from ddetr_export import open_detector, to_standard
from ddetr_export.onnx import (
    PLUGIN_INPUTS,
    PLUGIN_OP,
    ExportMetadata,
    embed_fallback,
    write_metadata,
    write_model,
)

HAS_TENSORRT = importlib.util.find_spec("tensorrt") is not None
HAS_OPENVINO = importlib.util.find_spec("openvino") is not None


@pytest.fixture
def plugin_file(tmp_path: Path) -> Path:
    """A file of our kind with one plugin node, which looks at the image's top row."""
    locations = np.full((1, 1, 1, 1, 3, 2), 0.5, np.float32)
    constants = {
        "spatial_shapes": np.array([[4, 8]], np.int32),
        "level_start_index": np.array([0], np.int32),
        "sampling_locations": locations,
        "attention_weights": np.full((1, 1, 1, 1, 3), 1 / 3, np.float32),
        "as_value": np.array([1, 32, 1, 3], np.int64),
        "as_logits": np.array([1, 1, 3], np.int64),
        "pred_box": np.full((1, 1, 4), 0.25, np.float32),
        "nothing": np.array(0, np.float32),
        "first": np.array([0, 1, 2, 2], np.int64),
    }
    nodes = [
        helper.make_node("Reshape", ["inputs", "as_value"], ["value"]),
        helper.make_node(
            PLUGIN_OP,
            PLUGIN_INPUTS,
            ["sampled"],
            domain="nvidia",
            plugin_version="1",
            plugin_namespace="",
        ),
        helper.make_node("Reshape", ["sampled", "as_logits"], ["pred_logits"]),
        helper.make_node("Gather", ["pred_logits", "first"], ["picked"], axis=2),
        helper.make_node("Mul", ["picked", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "pred_box"], ["pred_boxes"]),
    ]
    value_info = [helper.make_tensor_value_info("sampled", TensorProto.FLOAT, [1, 1, 1, 3])]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, [1, 3, 4, 8])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, last])
            for name, last in (("pred_logits", 3), ("pred_boxes", 4))
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
        value_info=value_info,
    )
    opsets = [helper.make_opsetid("", 12), helper.make_opsetid("nvidia", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    embed_fallback(model)
    preprocess = {"mode": "fixed", "height": 4, "width": 8}
    write_metadata(model, ExportMetadata((Category(1, "cell"),), preprocess, {"num_select": 2}))
    (tmp_path / "plugin.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "plugin.onnx"


def ddetr(*arguments: str) -> int:
    """Run the command in this process and give its exit status."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a process that may not load torch."""
    code = "import sys; sys.modules['torch'] = None; from ddetr_cli.app import main; main()"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def assert_standard(path: Path, plugin: Path) -> None:
    """No foreign operator is left, and the detections are the same."""
    assert {node.domain for node in onnx.load(path).graph.node} == {""}
    image = np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)
    (found,), (expected,) = (open_detector(each).predict([image]) for each in (path, plugin))
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


def test_a_plugin_file_is_rewritten_without_a_spec(plugin_file: Path) -> None:
    """With a name for the result or without, and without torch; an existing file stays."""
    folder = plugin_file.parent
    for names in (["plugin.onnx"], ["plugin.onnx", "mine.onnx"]):
        answer = run("export", "--to-standard", *names, cwd=folder)
        assert (answer.returncode, answer.stderr) == (0, "")
        written = folder / (names[1] if len(names) == 2 else "plugin.standard.onnx")
        assert written.name in answer.stdout
        assert_standard(written, plugin_file)
    answer = run("export", "--to-standard", "plugin.onnx", cwd=folder)
    assert answer.returncode == 2
    assert "plugin.standard.onnx exists" in answer.stderr


def test_a_plugin_file_is_rewritten_by_its_spec(plugin_file: Path) -> None:
    """export.onnx_file is the plugin file; status.json tells how it ended."""
    folder = plugin_file.parent
    (folder / "spec.yaml").write_text("results_dir: out\nexport: {onnx_file: plugin.onnx}\n")
    answer = run("export", "-e", "spec.yaml", "--to-standard", cwd=folder)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert_standard(folder / "plugin.standard.onnx", plugin_file)
    status = (folder / "out" / "export" / "status.json").read_text().splitlines()
    assert json.loads(status[-1])["status"] == "SUCCESS"
    answer = run("export", "-e", "spec.yaml", "--to-standard", cwd=folder)
    assert (answer.returncode, "export.overwrite=true" in answer.stderr) == (2, True)
    answer = run("export", "-e", "spec.yaml", "export.overwrite=true", "--to-standard", cwd=folder)
    assert answer.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["export"], "the spec file is missing"),
        (["export", "--to-standard"], "PLUGIN.onnx and perhaps STANDARD.onnx, got 0 names"),
        (["export", "--to-standard", "absent.onnx"], "no ONNX file at absent.onnx"),
        (["export", "--to-standard", "text.onnx"], "text.onnx is no ONNX file"),
        (["serve", "absent.onnx"], "no ONNX file at absent.onnx"),
        (["serve", "text.onnx"], "does not accept text.onnx"),
        (["serve"], "Missing argument"),
        (["serve", "text.onnx", "--runtime", "tvm"], "one of auto, onnxruntime, openvino, got"),
        (["serve", "text.onnx", "--precision", "bf16"], "precision is for checkpoints and for run"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    """Exit status 2, and what to do about it."""
    (tmp_path / "text.onnx").write_text("no model")
    answer = run(*arguments, cwd=tmp_path)
    assert answer.returncode == 2
    assert sentence in answer.stderr


@pytest.mark.skipif(HAS_TENSORRT, reason="TensorRT is installed")
def test_without_tensorrt_one_sentence_says_how_to_get_it(plugin_file: Path) -> None:
    """Exit status 2, and no results folder."""
    folder = plugin_file.parent
    (folder / "spec.yaml").write_text(
        "results_dir: out\n"
        "gen_trt_engine:\n"
        "  {onnx_file: plugin.onnx, trt_engine: m.engine, tensorrt: {data_type: int8}}\n"
    )
    answer = run("gen_trt_engine", "-e", "spec.yaml", cwd=folder)
    assert answer.returncode == 2
    assert "TensorRT is not installed" in answer.stderr
    assert "pip install 'ddetr-cli[tensorrt]'" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert not (folder / "out").exists()
    answer = run("evaluate", "-e", "spec.yaml", "evaluate.trt_engine=m.engine", cwd=folder)
    assert "evaluate.trt_engine: m.engine does not exist" in answer.stderr
    (folder / "m.engine").touch()
    answer = run("evaluate", "-e", "spec.yaml", "evaluate.trt_engine=m.engine", cwd=folder)
    assert (answer.returncode, "TensorRT is not installed" in answer.stderr) == (2, True)


def test_a_locked_file_asks_for_its_key(plugin_file: Path) -> None:
    """Before anything heavy is loaded, naming both ways to give the key."""
    folder = plugin_file.parent
    write_model(folder / "m.onnx.enc", plugin_file.read_bytes(), "open sesame")
    (folder / "spec.yaml").write_text("results_dir: out\n")
    for override in ("evaluate.checkpoint", "inference.checkpoint", "gen_trt_engine.onnx_file"):
        task = override.partition(".")[0]
        engine = ["gen_trt_engine.trt_engine=m.engine"] if task == "gen_trt_engine" else []
        answer = run(task, "-e", "spec.yaml", f"{override}=m.onnx.enc", *engine, cwd=folder)
        assert answer.returncode == 2, answer.stderr
        assert "set encryption_key or DDETR_ENCRYPTION_KEY" in answer.stderr


def test_a_locked_file_is_rewritten_locked(plugin_file: Path, monkeypatch) -> None:
    """The key comes from the environment, and the result is encrypted too."""
    folder = plugin_file.parent
    write_model(folder / "m.onnx.enc", plugin_file.read_bytes(), "open sesame")
    monkeypatch.setenv("DDETR_ENCRYPTION_KEY", "open sesame")
    answer = run("export", "--to-standard", "m.onnx.enc", cwd=folder)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert (
        open_detector(folder / "m.standard.onnx.enc", encryption_key="open sesame").batch_size == 1
    )
    assert not (folder / "m.standard.onnx").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "standard.onnx runs on CPUExecutionProvider"),
        pytest.param(
            ("--runtime", "openvino"),
            "standard.onnx runs on OpenVINO",
            marks=pytest.mark.skipif(not HAS_OPENVINO, reason="OpenVINO is not installed"),
        ),
    ],
)
def test_serving_answers_until_it_is_interrupted(
    plugin_file: Path, options: tuple[str, ...], told: str
) -> None:
    """It says where it listens and what runs the file, and Ctrl+C ends it in good order."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    model = to_standard(plugin_file, plugin_file.with_name("standard.onnx"))
    command = [sys.executable, "-m", "ddetr_cli", "serve", str(model), "--port", "0", *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert told in line
        address = next(word.rstrip(";") for word in line.split() if word.startswith("http"))
        with urllib.request.urlopen(f"{address}/health", timeout=30) as reply:
            assert json.load(reply)["status"] == "ok"
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=30) in (0, 130)
    finally:
        server.kill()
        server.wait()
