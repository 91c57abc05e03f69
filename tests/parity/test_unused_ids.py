"""An id without a class is never detected, whatever runs the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from ddetr_data import Detections
from ddetr_export import ExportConfig, TrtEngineConfig, build_engine, export_onnx
from ddetr_export import open_detector as open_exported
from ddetr_model import DeformableDETR, ModelConfig, load_checkpoint, save_checkpoint
from ddetr_train import open_detector as open_checkpoint

# fault 29
SIZE_HW = (64, 96)
IDS = (1, 3, 4)  # of 0 to 5: background, a gap and an end without a class
DOORS = ("raw.onnx", "inside.onnx", "plugin.onnx", "raw.engine", "inside.engine")
SETTINGS = {
    "backbone": "timm:test_resnet",
    "num_classes": 6,
    "hidden_dim": 32,
    "enc_layers": 1,
    "dec_layers": 1,
    "dim_feedforward": 32,
    "num_queries": 12,
    "num_select": 20,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, fake_tensorrt: None) -> Path:
    """A model that is surest of background, in all forms, and one without class names."""
    made = tmp_path_factory.mktemp("unused")
    torch.manual_seed(3)
    network = DeformableDETR(ModelConfig(**SETTINGS))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        for head in network.class_embed:
            head.bias += torch.tensor([9.0, 0.0, 8.0, 0.0, 0.0, 7.0])
    categories = [{"id": number, "name": f"kind {number}"} for number in IDS]
    height, width = SIZE_HW
    preprocess = {"mode": "fixed", "height": height, "width": width}
    save_checkpoint(network, made / "model.pth", categories=categories, preprocess=preprocess)
    save_checkpoint(network, made / "nameless.pth", preprocess=preprocess)
    for name, options in {
        "raw.onnx": {},
        "inside.onnx": {"postprocess": True},
        "plugin.onnx": {"postprocess": True, "on_cpu": False},
    }.items():
        sizes = {"input_height": height, "input_width": width, "opset_version": 17}
        config = ExportConfig(**sizes, batch_size=-1, score_images=0, **options)
        export_onnx(made / "model.pth", made / name, config)
    for kind in ("raw", "inside"):
        engine = TrtEngineConfig(tensorrt={"max_batch_size": 2})
        build_engine(made / f"{kind}.onnx", made / f"{kind}.engine", engine)
    return made


def images() -> list[Image.Image]:
    """Two images of noise."""
    generator = np.random.default_rng(1)
    return [Image.fromarray(generator.integers(0, 255, (50, 70, 3), np.uint8)) for _ in range(2)]


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[Detections]:
    """What PyTorch finds."""
    return open_checkpoint(folder / "model.pth").predict(images())


def test_pytorch_detects_known_classes_alone(folder: Path, expected: list[Detections]) -> None:
    """All places of the best are theirs; without class names every index may be detected."""
    for found in expected:
        assert len(found) == SETTINGS["num_select"]
        assert set(found.labels.tolist()) <= set(IDS)
    nameless = open_checkpoint(folder / "nameless.pth").predict(images())
    assert {0, 2, 5} & set(nameless[0].labels.tolist())


@pytest.mark.parametrize("door", DOORS)
def test_exported_files_detect_the_same(
    folder: Path, expected: list[Detections], door: str
) -> None:
    """Post-processing in the graph and behind it, and in an engine."""
    for found, wanted in zip(open_exported(folder / door).predict(images()), expected, strict=True):
        np.testing.assert_array_equal(found.labels, wanted.labels)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
        np.testing.assert_allclose(found.boxes_xyxy, wanted.boxes_xyxy, atol=0.05)


def test_the_raw_outputs_keep_every_index(folder: Path) -> None:
    """What other programs read of a file is what the network gives."""
    outputs = {each.name: each for each in onnx.load(folder / "raw.onnx").graph.output}
    shape = [axis.dim_value for axis in outputs["pred_logits"].type.tensor_type.shape.dim]
    assert shape[1:] == [SETTINGS["num_queries"], SETTINGS["num_classes"]]
    model = load_checkpoint(folder / "model.pth")
    with torch.no_grad():
        assert model(torch.zeros(1, 3, *SIZE_HW)).pred_logits.shape[-1] == 6
