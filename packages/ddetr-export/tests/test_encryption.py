"""Encrypted checkpoints become encrypted ONNX files, and nothing readable is left."""

from __future__ import annotations

import json
import tempfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("ddetr_model")

from PIL import Image  # noqa: E402

from ddetr_data.files import DamagedFileError, EncryptionError, WrongKeyError  # noqa: E402
from ddetr_export import ExportConfig, export_onnx, open_detector  # noqa: E402
from ddetr_export.onnx import write_model  # noqa: E402

KEY = "open sesame"
SIZES = {"input_height": 64, "input_width": 96}


@pytest.fixture
def locked_checkpoint(make_checkpoint, tmp_path):
    path = tmp_path / "locked.pth"
    write_model(path, make_checkpoint().read_bytes(), KEY)
    return path


def test_a_locked_checkpoint_becomes_a_locked_file(
    locked_checkpoint, make_checkpoint, tmp_path, monkeypatch
) -> None:
    """No name, class or weight stands in clear in any file, not even for a moment in a folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    config = ExportConfig(**SIZES)
    report = export_onnx(locked_checkpoint, tmp_path / "out" / "m.onnx", config, encryption_key=KEY)
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["m.certificate.json", "m.onnx.enc"]
    assert report.path.name == "m.onnx.enc"
    assert list((tmp_path / "temporary").iterdir()) == []
    content = report.path.read_bytes()
    weights = torch.load(make_checkpoint(), weights_only=True)["state_dict"]
    weight = weights["transformer.encoder.layers.0.norm1.bias"].numpy().tobytes()
    for clear in (b"pred_logits", b"red cell", b"encoder", weight):
        assert clear not in content
    certificate = json.loads((tmp_path / "out" / "m.certificate.json").read_text("utf-8"))
    assert certificate["passed"]
    image = np.random.default_rng(0).integers(0, 255, (50, 60, 3), np.uint8)
    plain = export_onnx(make_checkpoint(), tmp_path / "plain.onnx", config).path
    (found,), (expected,) = (
        open_detector(report.path, encryption_key=KEY).predict([image]),
        open_detector(plain).predict([image]),
    )
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_a_locked_checkpoint_needs_its_key(locked_checkpoint, tmp_path) -> None:
    """Without it, with another one and for a damaged file there are three sentences."""
    target, config = tmp_path / "out" / "m.onnx", ExportConfig(**SIZES)
    with pytest.raises(EncryptionError, match="set encryption_key"):
        export_onnx(locked_checkpoint, target, config)
    with pytest.raises(WrongKeyError, match="another one was used"):
        export_onnx(locked_checkpoint, target, config, encryption_key="open says me")
    locked_checkpoint.write_bytes(locked_checkpoint.read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match="damaged or cut short"):
        export_onnx(locked_checkpoint, target, config, encryption_key=KEY)
    assert not target.parent.exists()


def test_eight_bits_leave_nothing_readable(make_checkpoint, tmp_path, monkeypatch) -> None:
    """The calibration's temporary folder is gone when the export ends."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "images").mkdir()
    Image.new("RGB", (50, 40), "teal").save(tmp_path / "images" / "one.png")
    config = ExportConfig(
        **SIZES,
        precision="int8_qdq",
        opset_version=17,
        on_cpu=False,
        calibration_image_dir=str(tmp_path / "images"),
    )
    report = export_onnx(make_checkpoint(), tmp_path / "out" / "m.onnx", config, encryption_key=KEY)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert b"pred_logits" not in report.path.read_bytes()
    assert open_detector(report.path, encryption_key=KEY).batch_size == 1


def test_sidecars_of_a_locked_file_are_refused(make_checkpoint, tmp_path) -> None:
    """DeepStream and Triton could not read what they describe."""
    config = ExportConfig(**SIZES, serialize_nvdsinfer=True)
    with pytest.raises(ValueError, match="leave out encryption_key or serialize_nvdsinfer"):
        export_onnx(make_checkpoint(), tmp_path / "m.onnx", config, encryption_key=KEY)
