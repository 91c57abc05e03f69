"""The white level of a model's training images reaches every door that looks at an image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddetr_data import Category, PreprocessConfig
from ddetr_data.coco import category_rows, image_row, object_row
from ddetr_data.config import AugmentationConfig, DatasetConfig, DataSource, InferSource
from ddetr_data.detection import Detector, InferenceConfig, label
from ddetr_data.files import write_whole
from ddetr_export import ExportConfig, OnnxDetector, create_app, export_onnx
from ddetr_export import open_detector as open_exported
from ddetr_model import DeformableDETR, ModelConfig, load_checkpoint
from ddetr_train import TrainConfig, train
from ddetr_train import open_detector as open_checkpoint

SIDE = 64
SMALL = {
    **{"backbone": "timm:test_resnet", "num_classes": 2, "hidden_dim": 32, "enc_layers": 1},
    **{"dec_layers": 1, "dim_feedforward": 32, "num_queries": 10, "num_select": 10},
}


def twelve_bits(number: int) -> np.ndarray:
    rng = np.random.default_rng(number)
    return (rng.random((SIDE, SIDE)) * 2000 + np.linspace(0, 2095, SIDE)).astype(np.uint16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of 12 bits in 16, labels, and a model that was trained on them, exported too."""
    folder = tmp_path_factory.mktemp("deep")
    rows = [image_row(number, f"{number}.png", (SIDE, SIDE)) for number in (1, 2)]
    boxes = [object_row(id_, id_, 1, [8.0, 8.0, 20.0, 20.0], 400.0, False) for id_ in (1, 2)]
    for row in rows:
        (folder / "images").mkdir(exist_ok=True)
        Image.fromarray(twelve_bits(row["id"])).save(folder / "images" / row["file_name"])
    categories = category_rows([Category(1, "cell")])
    labels = {"images": rows, "annotations": boxes, "categories": categories}
    write_whole(folder / "labels.json", json.dumps(labels))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDETR_CACHE", str(folder / "cache"))
        torch.manual_seed(0)
        config = TrainConfig(num_epochs=1, accelerator="cpu", activation_checkpoint=False)
        train(ModelConfig(**SMALL), dataset(folder), config, folder / "run")
    size = ExportConfig(
        input_height=SIDE, input_width=SIDE, opset_version=17, batch_size=-1, score_images=0
    )
    export_onnx(folder / "run" / "dd_model_latest.pth", folder / "model.onnx", size)
    return folder


def dataset(folder: Path, **options: object) -> DatasetConfig:
    augmentation = AugmentationConfig(
        **{"scales": SIDE, "train_random_resize": SIDE, "train_random_crop_min": 48},
        **{"train_random_crop_max": SIDE, "random_resize_max_size": SIDE},
        test_random_resize=SIDE,
    )
    source = DataSource(image_dir=folder / "images", json_file=folder / "labels.json")
    return DatasetConfig(
        train_data_sources=source,
        infer_data_sources=InferSource(image_dir=folder / "images"),
        num_classes=2,
        batch_size=2,
        workers=0,
        augmentation=augmentation,
        **options,
    )


def detectors(folder: Path) -> list[Detector]:
    return [
        open_checkpoint(folder / "run" / "dd_model_latest.pth"),
        open_exported(folder / "model.onnx"),
    ]


def test_checkpoint_and_exported_file_say_it(folder: Path) -> None:
    """4095, of training images up to some value above 1023."""
    # fault 33
    metadata = load_checkpoint(folder / "run" / "dd_model_latest.pth").metadata
    assert metadata is not None
    assert metadata.preprocess is not None
    assert PreprocessConfig(**metadata.preprocess).integer_white_level == 4095
    for detector in detectors(folder):
        assert detector.preprocess_config is not None
        assert detector.preprocess_config.integer_white_level == 4095


def test_every_door_sees_the_same_shades(folder: Path, tmp_path: Path) -> None:
    """A file, an array, a Pillow image, inference and the server, as the same in 8 bits."""
    # fault 33
    testing = pytest.importorskip("fastapi.testclient")
    path, deep = folder / "images" / "1.png", twelve_bits(1)
    plain = np.repeat(np.round(deep * (255 / 4095)).astype(np.uint8)[..., None], 3, axis=2)
    for detector in detectors(folder):
        (expected,) = detector.predict([plain])
        for image in (path, deep, Image.open(path)):
            (found,) = detector.predict([image])
            np.testing.assert_array_equal(found.scores, expected.scores)
        config = InferenceConfig(conf_threshold=0, coco_json=True)
        label(detector, dataset(folder), config, tmp_path / type(detector).__name__)
        shown = tmp_path / type(detector).__name__ / "images_annotated" / "1.png"
        with Image.open(shown) as annotated:
            assert np.median(np.asarray(annotated)) > 60  # not black
        if isinstance(detector, OnnxDetector):
            client = testing.TestClient(create_app(detector))
            answer = client.post("/predict?threshold=0", content=path.read_bytes()).json()
            scores = [each["score"] for each in answer["detections"]]
            assert scores == pytest.approx(expected.scores.tolist(), abs=1e-4)


def test_a_key_fixes_the_level_of_a_run(folder: Path, tmp_path: Path) -> None:
    """And a run that goes on with another one is refused."""
    # fault 33
    config = TrainConfig(num_epochs=1, accelerator="cpu", activation_checkpoint=False)
    data = dataset(folder, integer_white_level=10_000, dataset_type="default")
    train(DeformableDETR(ModelConfig(**SMALL)), data, config, tmp_path)
    detector = open_checkpoint(tmp_path / "dd_model_latest.pth")
    assert detector.preprocess_config.integer_white_level == 10_000
    longer = config.model_copy(update={"num_epochs": 2})
    other = dataset(folder, dataset_type="default")
    with pytest.raises(ValueError, match=r"white_levels is .*10000.* there and .*4095.* here"):
        train(ModelConfig(**SMALL), other, longer, tmp_path)
