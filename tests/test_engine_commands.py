"""`gen_trt_engine`, then `evaluate` and `inference` of its engine, with a stand-in for TensorRT."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ddetr_cli.app import main
from ddetr_data.synthetic import make_dataset
from ddetr_data.types import Category
from ddetr_export.onnx import ExportMetadata, write_metadata

FAKE = Path(__file__).parent.parent / "packages/ddetr-export/tests/fake_tensorrt.py"
SPEC = """
results_dir: results
dataset:
  test_data_sources:
    {image_dir: data/images/val, json_file: data/annotations/instances_val.json}
  infer_data_sources: {image_dir: data/images/val}
gen_trt_engine:
  onnx_file: toy.onnx
  trt_engine: toy.engine
  tensorrt: {data_type: fp16, workspace_size: 512, max_batch_size: 1}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with labelled images, a small ONNX file, a spec, and the stand-in installed."""
    spec = importlib.util.spec_from_file_location("fake_tensorrt", FAKE)
    assert spec is not None
    assert spec.loader is not None
    fakes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fakes)
    trt = fakes.make_tensorrt("10.9.0")
    trt.__spec__ = spec
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    for name in ("cuda", "cuda.bindings"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", fakes.CudaRuntime())
    monkeypatch.chdir(tmp_path)
    make_dataset("data", num_images={"val": 3}, image_size_hw=(48, 64), num_classes=2)
    (tmp_path / "toy.onnx").write_bytes(toy_model().SerializeToString())
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


def toy_model() -> onnx.ModelProto:
    """Logits rise with the brightness of the image; the box is always the same."""
    constants = {
        "table": np.array([[[-1, 2, 0.5]]], np.float32),
        "box": np.array([[[0.5, 0.5, 0.4, 0.6]]], np.float32),
        "column": np.array([-1, 1, 1], np.int64),
        "zero": np.zeros(1, np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["inputs"], ["flat"], axes=[1, 2, 3]),
        helper.make_node("Reshape", ["flat", "column"], ["mean"]),
        helper.make_node("Add", ["mean", "table"], ["pred_logits"]),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "box"], ["pred_boxes"]),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1, last])
        for name, last in (("pred_logits", 3), ("pred_boxes", 4))
    ]
    inputs = [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["batch", 3, 24, 32])]
    weights = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "toy", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=8)
    preprocess = {"mode": "fixed", "height": 24, "width": 32}
    names = (Category(1, "circle"), Category(2, "square"))
    write_metadata(model, ExportMetadata(names, preprocess, {"num_select": 3, "num_classes": 3}))
    return model


def ddetr(*arguments: str) -> int:
    """Run the command in this process and give its exit status."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_an_engine_is_built_scored_and_labels_images(project: Path) -> None:
    """It scores as its ONNX file does; an override beats the file; status.json ends in SUCCESS."""
    assert (
        ddetr("gen_trt_engine", "-e", "spec.yaml", "gen_trt_engine.tensorrt.max_batch_size=2") == 0
    )
    results = project / "results"
    assert json.loads((project / "toy.engine.json").read_text())["batch_sizes"] == [1, 1, 2]
    last = json.loads((results / "gen_trt_engine/status.json").read_text().splitlines()[-1])
    assert (last["status"], last["kpi"]["max_batch_size"]) == ("SUCCESS", 2)
    assert "max_batch_size: 2" in (results / "gen_trt_engine/experiment.yaml").read_text()
    scores = {}
    for key, file in (("trt_engine", "toy.engine"), ("checkpoint", "toy.onnx")):
        assert ddetr("evaluate", "-e", "spec.yaml", f"evaluate.{key}={file}") == 0
        folder = results / {"trt_engine": "trt_evaluate", "checkpoint": "evaluate"}[key]
        scores[key] = json.loads((folder / "results.json").read_text())["overall"]
    assert scores["trt_engine"] == scores["checkpoint"]
    options = ["inference.trt_engine=toy.engine", "inference.conf_threshold=0"]
    assert ddetr("inference", "-e", "spec.yaml", *options) == 0
    assert len(list((results / "trt_inference/labels").glob("*.txt"))) == 3
    assert not (results / "inference").exists()  # which a checkpoint's run may have
    # fault 47
