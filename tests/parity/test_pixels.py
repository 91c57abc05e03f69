"""One set of pixels: every `predict` sees the same, however an image is handed over."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddetr_data import Detections, PreprocessConfig, preprocess, read_image
from ddetr_data.detection import Detector
from ddetr_export import OnnxDetector, create_app
from ddetr_export import open_detector as open_exported
from ddetr_model import DeformableDETR, ModelConfig, export_huggingface, load_checkpoint
from ddetr_train import open_detector as open_checkpoint

ANSWER_TOLERANCE = 1e-3  # of sums in another order; an image on its side is off by 0.1 and more
PIXEL_TOLERANCE = 0.05  # of the standard deviation; resizing rounds to 1/255 in one of the two


def noise(*shape: int, most: int = 256, dtype: Any = np.uint8) -> np.ndarray:
    """Pixels that no turn and no other reading leaves as they are."""
    ramp = np.linspace(0, 1, shape[0] * shape[1]).reshape(shape[:2] + (1,) * (len(shape) - 2))
    random = np.random.default_rng(0).random(shape)
    return ((0.7 * ramp + 0.3 * random) * (most - 1)).astype(dtype)


def on_its_side() -> tuple[Image.Image, dict[str, Any]]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return Image.fromarray(noise(30, 50, 3)), {"exif": exif.tobytes()}


IMAGES: dict[str, Callable[[], tuple[Image.Image, dict[str, Any]]]] = {
    "RGB": lambda: (Image.fromarray(noise(30, 50, 3)), {}),
    "EXIF orientation 6": on_its_side,
    "palette": lambda: (Image.fromarray(noise(30, 50, 3)).quantize(16), {}),
    "RGBA": lambda: (Image.fromarray(noise(30, 50, 4), "RGBA"), {}),
    "grey": lambda: (Image.fromarray(noise(30, 50)), {}),
    "16-bit grey": lambda: (Image.fromarray(noise(30, 50, most=2**16, dtype=np.uint16)), {}),
}


@pytest.fixture(params=IMAGES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An image file of each kind."""
    image, options = IMAGES[request.param]()
    image.save(tmp_path / "image.png", **options)
    return tmp_path / "image.png"


@pytest.fixture(scope="module")
def detectors(models: Path, model_key: str) -> dict[str, Detector]:
    """The same model by PyTorch, ONNX Runtime, OpenVINO and the stand-in for TensorRT."""
    others = {}
    if importlib.util.find_spec("openvino") is not None:
        others["openvino"] = open_exported(models / "model.onnx", runtime="openvino")
    return {
        **others,
        "model.pth": open_checkpoint(models / "model.pth"),
        "model.onnx": open_exported(models / "model.onnx"),
        "model.onnx.enc": open_exported(models / "model.onnx.enc", encryption_key=model_key),
        "model.engine": open_exported(models / "model.engine"),
    }


def handed_over(path: Path) -> Iterator[Any]:
    """Yield the file, an open Pillow image that was not turned, and its pixels."""
    yield path
    yield str(path)
    with Image.open(path) as image:
        yield image
        if image.mode == "I;16":
            yield np.asarray(image, np.uint16)
    yield np.asarray(read_image(path))


def test_every_way_to_hand_over_an_image_gives_the_same(
    detectors: dict[str, Detector], path: Path
) -> None:
    """By each detector to the bit, and between them within the last digits of their sums."""
    expected: Detections | None = None
    for detector in detectors.values():
        own: Detections | None = None
        for image in handed_over(path):
            (found,) = detector.predict([image])
            own = own or found
            np.testing.assert_array_equal(found.boxes_xyxy, own.boxes_xyxy)
            np.testing.assert_array_equal(found.scores, own.scores)
        assert own is not None
        expected = expected or own
        np.testing.assert_allclose(own.scores, expected.scores, atol=ANSWER_TOLERANCE)
        np.testing.assert_allclose(own.boxes_xyxy, expected.boxes_xyxy, atol=0.1)


def test_the_web_service_sees_the_same(detectors: dict[str, Detector], path: Path) -> None:
    """What it answers for the file's bytes is what its detector finds in the file."""
    testing = pytest.importorskip("fastapi.testclient")
    detector = detectors["model.onnx"]
    assert isinstance(detector, OnnxDetector)
    client = testing.TestClient(create_app(detector))
    answer = client.post("/predict?threshold=0", content=path.read_bytes()).json()
    (expected,) = detector.predict([path])
    assert answer["image"] == dict(zip(("width", "height"), read_image(path).size, strict=True))
    found = [each["score"] for each in answer["detections"]]
    assert found == pytest.approx(expected.scores.tolist(), abs=1e-4)
    boxes = [each["box_xyxy"] for each in answer["detections"]]
    np.testing.assert_allclose(boxes, expected.boxes_xyxy, atol=0.01)


@pytest.mark.parametrize("door", ["model.pth", "model.onnx"])
@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (["absent.png"], FileNotFoundError, r"absent\.png is missing"),
        (["broken.png"], ValueError, r"broken\.png cannot be read"),
        ([np.zeros((4, 5, 7), np.uint8)], TypeError, r"\(H, W, 3\) or \(H, W\)"),
        ([np.zeros((4, 5, 3), np.float32)], TypeError, "must be uint8, 0 to 255, got float32"),
        ([np.zeros((0, 5, 3), np.uint8)], ValueError, "at least one pixel"),
        ([None], TypeError, "an image must be a path, a Pillow image or an array, got NoneType"),
        ("one.png", TypeError, "put a single one in brackets"),
        (np.zeros((4, 5, 3), np.uint8), TypeError, "put a single one in brackets"),
    ],
)
def test_what_is_no_image_is_told_alike(
    detectors: dict[str, Detector], door: str, images, error, message, tmp_path, monkeypatch
) -> None:
    """One sentence each, and the detector goes on working."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(error, match=message):
        detectors[door].predict(images)
    assert len(detectors[door].predict([noise(30, 50, 3)])) == 1
    assert detectors[door].predict([]) == []


def test_an_image_as_published_is_prepared_as_transformers_does(tmp_path: Path) -> None:
    """A model that says nothing of images is exported with the settings that are used here."""
    transformers = pytest.importorskip("transformers")
    config = ModelConfig(
        num_classes=3, hidden_dim=32, enc_layers=1, dec_layers=1, padding_invariant=False
    )
    export_huggingface(DeformableDETR(config), tmp_path)
    prepare = transformers.DeformableDetrImageProcessor.from_pretrained(tmp_path)
    image = Image.fromarray(noise(60, 90, 3))
    theirs = prepare(image, return_tensors="np")["pixel_values"][0]
    metadata = load_checkpoint(tmp_path).metadata
    assert metadata is not None
    ours = preprocess(image, PreprocessConfig(**metadata.preprocess))
    assert theirs.shape == ours.shape
    assert np.abs(theirs - ours).max() < PIXEL_TOLERANCE
