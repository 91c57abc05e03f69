"""Shared fixtures: a seed, and a small ONNX file of our kind made without torch."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ddetr_data.types import Category
from ddetr_export.onnx import ExportMetadata, write_metadata

QUERIES, CLASSES = 5, 3
CATEGORIES = (Category(1, "red cell"), Category(2, "platelet"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def load_beside():
    """Import a module that stands beside the tests, by name."""

    def load(name: str) -> ModuleType:
        place = Path(__file__).with_name(f"{name}.py")
        spec = importlib.util.spec_from_file_location(name, place)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def fakes(load_beside) -> ModuleType:
    """The stand-in for TensorRT and CUDA."""
    return load_beside("fake_tensorrt")


@pytest.fixture
def fake_tensorrt(fakes, monkeypatch):
    """Install a TensorRT of a version, and CUDA; gives the module tensorrt."""

    def install(version: str = "10.9.0"):
        trt = fakes.make_tensorrt(version)
        monkeypatch.setitem(sys.modules, "tensorrt", trt)
        for name in ("cuda", "cuda.bindings"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", fakes.CudaRuntime())
        return trt

    return install


@pytest.fixture
def cheap_scrypt(monkeypatch) -> None:
    """Make passphrases cost nothing; they guard nothing here."""
    from ddetr_data.files import encryption as crypto

    monkeypatch.setattr(crypto, "_SCRYPT_LOG2_N", 4)


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory):
    """Write a small model's checkpoint, its weights off their start; once for the same settings."""
    torch = pytest.importorskip("torch")
    ddetr_model = pytest.importorskip("ddetr_model")
    pytest.importorskip("timm")
    folder = tmp_path_factory.mktemp("checkpoints")
    small = {
        "backbone": "timm:test_resnet",
        "num_classes": CLASSES,
        "hidden_dim": 32,
        "nheads": 4,
        "enc_layers": 1,
        "dec_layers": 2,
        "dim_feedforward": 48,
        "num_queries": 15,
        "num_select": 10,
    }

    def write(**settings: object) -> Path:
        path = folder / f"{abs(hash(repr(sorted(settings.items()))))}.pth"
        if not path.exists():
            torch.manual_seed(1)
            model = ddetr_model.DeformableDETR(ddetr_model.ModelConfig(**{**small, **settings}))
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter += 0.05 * torch.randn_like(parameter)
            categories = [{"id": each.id, "name": each.name} for each in CATEGORIES]
            preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
            ddetr_model.save_checkpoint(model, path, categories=categories, preprocess=preprocess)
        return path

    return write


@pytest.fixture
def toy_onnx(tmp_path: Path):
    """Write a file whose logits rise with the image's brightness and whose boxes never change."""

    def write(name: str = "toy.onnx", *, batch: int | str = "batch", metadata: bool = True) -> Path:
        model = toy_model(batch)
        if metadata:
            write_metadata(model, toy_metadata())
        path = tmp_path / name
        path.write_bytes(model.SerializeToString())
        return path

    return write


def toy_metadata() -> ExportMetadata:
    preprocess = {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "mode": "fixed",
        "height": 24,
        "width": 32,
    }
    return ExportMetadata(CATEGORIES, preprocess, {"num_select": 4})


def toy_model(batch: int | str):
    """pred_logits = table + mean of the image; pred_boxes = another table."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(7)
    logits = generator.normal(size=(1, QUERIES, CLASSES)).astype(np.float32)
    boxes = generator.uniform(0.2, 0.8, size=(1, QUERIES, 4)).astype(np.float32)
    constants = {
        "logit_table": logits,
        "box_table": boxes,
        "per_image": np.array([-1, 1, 1], np.int64),
        "zero": np.zeros(1, np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["inputs"], ["mean4"], axes=[1, 2, 3]),
        helper.make_node("Reshape", ["mean4", "per_image"], ["mean"]),
        helper.make_node("Add", ["mean", "logit_table"], ["pred_logits"]),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "box_table"], ["pred_boxes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, [batch, 3, 24, 32])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, QUERIES, last])
            for name, last in (("pred_logits", CLASSES), ("pred_boxes", 4))
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=8)
    onnx.checker.check_model(model)
    return model
