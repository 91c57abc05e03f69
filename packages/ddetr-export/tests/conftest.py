"""Shared fixtures: a seed, and a small ONNX file of our kind made without torch."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ddetr_export.onnx import write_metadata


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
        path = Path(__file__).with_name(f"{name}.py")
        spec = importlib.util.spec_from_file_location(name, path)
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


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory):
    """Write a small model's checkpoint, its weights off their start; once for the same settings."""
    torch = pytest.importorskip("torch")
    ddetr_model = pytest.importorskip("ddetr_model")
    pytest.importorskip("timm")
    folder = tmp_path_factory.mktemp("checkpoints")
    small = {
        "backbone": "timm:test_resnet",
        "num_classes": 3,
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
            fields = {**small, **settings}
            names = ddetr_model.LossConfig.model_fields
            losses = {name: fields.pop(name) for name in names if name in fields}
            model = ddetr_model.DeformableDETR(
                ddetr_model.ModelConfig(**fields), losses=ddetr_model.LossConfig(**losses)
            )
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter += 0.05 * torch.randn_like(parameter)
            categories = [{"id": 1, "name": "red cell"}, {"id": 2, "name": "platelet"}]
            preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
            ddetr_model.save_checkpoint(model, path, categories=categories, preprocess=preprocess)
        return path

    return write


@pytest.fixture
def toy_onnx(tmp_path: Path, load_beside):
    """Write a file whose logits rise with the image's brightness and whose boxes never change."""

    beside = load_beside("toy_model")

    def write(name: str = "toy.onnx", *, batch: int | str = "batch", metadata: bool = True) -> Path:
        model = beside.toy_model(batch)
        if metadata:
            write_metadata(model, beside.toy_metadata())
        path = tmp_path / name
        path.write_bytes(model.SerializeToString())
        return path

    return write
