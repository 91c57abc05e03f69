"""Exports in OpenVINO: certified like ONNX Runtime, and the detections of both."""

from __future__ import annotations

import importlib.util
import json
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("ddetr_model")
if importlib.util.find_spec("openvino") is None:
    pytest.skip("the extra [openvino] is not installed", allow_module_level=True)

from ddetr_data.extras import MissingExtraError
from ddetr_export import (
    ExportConfig,
    ExportError,
    export_onnx,
    open_detector,
    prepared_export,
)
from ddetr_export.proof import agreement

HEIGHT, WIDTH = 64, 96
# Sums in another order, of the file's float32; detections are in pixels of images of 200.
SCORE_TOLERANCE = 1e-4
PIXEL_TOLERANCE = 0.05
# A file in half has its own rounding, at other nodes in each runtime.
HALF_SCORE_TOLERANCE = 0.01
BF16_SCORE_TOLERANCE = 0.02
SMALL, RESNET, WINDOWS = "timm:test_resnet", "resnet_50", "gc_vit_xxtiny"
CASES = {
    "dynamic batch, opset 12": (SMALL, {"opset_version": 12}),
    "fixed batch of 2, opset 16": (RESNET, {"opset_version": 16, "batch_size": 2}),
    "detections in the graph, opset 17": (WINDOWS, {"opset_version": 17, "postprocess": True}),
    "opset 20": (SMALL, {"opset_version": 20}),
}


def export(checkpoint, folder, **settings):
    scale = settings.pop("input_scale", 1)
    size = {"input_height": scale * HEIGHT, "input_width": scale * WIDTH}
    config = ExportConfig(check_openvino=True, score_images=0, **size, **settings)
    return export_onnx(checkpoint, folder / "model.onnx", config)


def images() -> list[Image.Image]:
    """Noise, of several shapes and one of it with black borders, as of an image that is padded."""
    random = np.random.default_rng(5)
    arrays = [random.integers(0, 255, (height, 200, 3), np.uint8) for height in (150, 60, 200)]
    arrays[2][:, 120:] = 0
    return [Image.fromarray(each) for each in arrays]


def assert_same_in_both(path, tolerance: float = SCORE_TOLERANCE) -> None:
    expected, found = (
        open_detector(path, runtime=runtime).predict(images())
        for runtime in ("onnxruntime", "openvino")
    )
    for one, other in zip(found, expected, strict=True):
        assert len(other) > 0
        np.testing.assert_allclose(one.scores, other.scores, atol=tolerance)
        if tolerance == SCORE_TOLERANCE:
            np.testing.assert_array_equal(one.labels, other.labels)
            np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, atol=PIXEL_TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "settings"), CASES.values(), ids=CASES)
def test_both_runtimes_find_the_same(make_checkpoint, tmp_path, backbone, settings) -> None:
    """And the certificate holds a comparison with PyTorch of each."""
    report = export(make_checkpoint(backbone=backbone), tmp_path, **settings)
    assert_same_in_both(report.path)
    certificate = json.loads((tmp_path / "model.certificate.json").read_text("utf-8"))
    first, second = certificate["comparison"], certificate["comparison_in_openvino"]
    assert (first["runtime"], second["runtime"]) == ("ONNX Runtime", "OpenVINO")
    assert second["batch_sizes"] == first["batch_sizes"]
    assert 0 < second["max_error_logits"] < 1e-4
    assert second["same_detections"] == 1.0
    assert report.max_error_logits >= second["max_error_logits"]
    assert {"onnxruntime", "openvino"} <= set(certificate["versions"])
    checks = {each["name"]: each["passed"] for each in certificate["checks"]}
    assert checks["loads in OpenVINO"]


def test_two_stages_are_the_same_in_both(make_checkpoint, tmp_path) -> None:
    """The best proposals of the encoder are chosen in the graph."""
    assert_same_in_both(export(make_checkpoint(two_stage=True), tmp_path, opset_version=17).path)


def test_a_file_in_half_is_near_in_both(make_checkpoint, tmp_path) -> None:
    """OpenVINO computes it in float32 and ONNX Runtime in half."""
    report = export(make_checkpoint(), tmp_path, opset_version=17, precision="fp16")
    assert_same_in_both(report.path, HALF_SCORE_TOLERANCE)


@pytest.mark.parametrize("opset", [12, 17])
def test_bf16_finds_the_same(make_checkpoint, tmp_path, opset) -> None:
    """Positions, indices and boxes stay in float32, whether it samples by gathers or GridSample."""
    checkpoint = make_checkpoint(num_queries=60)
    path = export(checkpoint, tmp_path, opset_version=opset, input_scale=4).path
    exact, found = (
        open_detector(path, runtime="openvino", precision=precision).predict(images())
        for precision in ("fp32", "bf16")
    )
    for one, other in zip(found, exact, strict=True):
        assert agreement(one, other) > 0.9
        np.testing.assert_allclose(one.scores, other.scores, atol=BF16_SCORE_TOLERANCE)


def test_what_openvino_computes_otherwise_is_not_written(
    make_checkpoint, tmp_path, monkeypatch
) -> None:
    """The error says which of the runtimes differs, and nothing is left."""
    right = prepared_export.open_on_cpu

    def wrong(model, name, runtime="onnxruntime"):
        session = right(model, name, runtime)
        if runtime == "openvino":
            run = session.run
            session.run = lambda *arguments: [each + 1 for each in run(*arguments)]
        return session

    monkeypatch.setattr(prepared_export, "open_on_cpu", wrong)
    with pytest.raises(ExportError, match="OpenVINO differs from PyTorch by 1 in logits"):
        export(make_checkpoint(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_plugin_file_is_not_for_openvino() -> None:
    """Told by the spec, before anything is exported."""
    with pytest.raises(ValueError, match="check_openvino needs on_cpu=true"):
        ExportConfig(check_openvino=True, on_cpu=False)


def test_a_comparison_that_cannot_be_is_told_first(make_checkpoint, tmp_path, monkeypatch) -> None:
    """OpenVINO that is not installed is asked for by its extra."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"ddetr-export\[openvino\]"):
        export(make_checkpoint(), tmp_path)
