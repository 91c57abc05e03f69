"""One small model behind every door that runs a detector, and labelled images."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ddetr_data.files import encrypting
from ddetr_data.synthetic import make_dataset
from ddetr_export import ExportConfig, TrtEngineConfig, build_engine, export_onnx
from ddetr_export.onnx import write_model
from ddetr_model import DeformableDETR, ModelConfig, save_checkpoint

FAKE = Path(__file__).parents[2] / "packages/ddetr-export/tests/fake_tensorrt.py"
KEY = "open sesame"
DOORS = (
    "model.pth",
    "model.pth.enc",
    "model.onnx",
    "model.onnx.enc",
    "model.etlt",  # encrypted, under the name that TAO gives it
    "model.engine",
)
# Files that OpenVINO runs too, where it is installed: the door is this and the file's name.
IN_OPENVINO = "openvino:"
SIZE_HW = (64, 96)
SMALL = {
    "backbone": "timm:test_resnet",
    "num_classes": 3,
    "hidden_dim": 32,
    "enc_layers": 1,
    "dec_layers": 1,
    "dim_feedforward": 32,
    "num_queries": 20,
    "num_select": 15,
}


@pytest.fixture(scope="session")
def fake_tensorrt() -> Iterator[None]:
    """Install the stand-in for TensorRT and CUDA, whose engines compute on the CPU."""
    spec = importlib.util.spec_from_file_location("fake_tensorrt", FAKE)
    assert spec is not None
    assert spec.loader is not None
    fakes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fakes)
    trt = fakes.make_tensorrt("10.9.0")
    trt.__spec__ = spec
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorrt", trt)
        for name in ("cuda", "cuda.bindings"):
            patch.setitem(sys.modules, name, ModuleType(name))
        patch.setitem(sys.modules, "cuda.bindings.runtime", fakes.CudaRuntime())
        yield


@pytest.fixture(scope="session")
def doors() -> tuple[str, ...]:
    """The files of `models`: one model, and whatever may run it."""
    if importlib.util.find_spec("openvino") is None:
        return DOORS
    return (*DOORS, f"{IN_OPENVINO}model.onnx", f"{IN_OPENVINO}model.onnx.enc")


@pytest.fixture(scope="session")
def model_key() -> str:
    """The passphrase of those that are encrypted."""
    return KEY


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, fake_tensorrt: None) -> Path:
    """A folder with one model as DOORS; each takes images of SIZE_HW pixels."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    network = DeformableDETR(ModelConfig(**SMALL))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    height, width = SIZE_HW
    save_checkpoint(
        network,
        folder / "model.pth",
        categories=[{"id": 1, "name": "circle"}, {"id": 2, "name": "square"}],
        preprocess={"mode": "fixed", "height": height, "width": width, "mean": [0.5], "std": [0.2]},
    )
    config = ExportConfig(
        input_height=height, input_width=width, opset_version=17, batch_size=-1, score_images=0
    )
    export_onnx(folder / "model.pth", folder / "model.onnx", config)
    content = (folder / "model.onnx").read_bytes()
    for name in ("model.onnx.enc", "model.etlt"):
        write_model(folder / name, content, KEY)
    with (folder / "model.pth.enc").open("wb") as file, encrypting(file, KEY) as target:
        target.write((folder / "model.pth").read_bytes())
    engine = TrtEngineConfig(tensorrt={"max_batch_size": 2})
    build_engine(folder / "model.onnx", folder / "model.engine", engine)
    return folder


@pytest.fixture
def project(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the models and three labelled images."""
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))
    make_dataset("data", num_images={"val": 3}, image_size_hw=(48, 64), num_classes=2)
    return tmp_path


# How a sentence says what to do: a rule that a value must keep, or a verb that asks for something.
_NEXT_STEP = re.compile(
    r"\b(must|needs|takes|did you mean|give|(?<!not )set|write|mend|make|add|install|lower|raise|"
    r"choose|keep|copy|wait|rename|shows|lists|pass|end a run)\b",
    re.IGNORECASE,
)


@pytest.fixture
def says_what_to_do() -> Callable[[str], bool]:
    """Tell whether a sentence has a next step behind what is wrong."""
    return lambda sentence: _NEXT_STEP.search(sentence.removeprefix("ddetr: ")) is not None
