"""What an export can do beside the plain file: certificate, precision, detections, sidecars."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("ddetr_model")

import onnx  # noqa: E402

from ddetr_data.types import Category  # noqa: E402
from ddetr_export import (  # noqa: E402
    ExportConfig,
    ExportError,
    export_onnx,
    open_detector,
    prepared_export,
)
from ddetr_export.onnx_export import describe  # noqa: E402
from ddetr_export.sidecars import sidecars  # noqa: E402
from ddetr_model import load_checkpoint  # noqa: E402

HEIGHT, WIDTH = 64, 96


def export(checkpoint, folder, **settings):
    config = ExportConfig(input_height=HEIGHT, input_width=WIDTH, **settings)
    return export_onnx(checkpoint, folder / "model.onnx", config)


def certificate_of(folder) -> dict:
    return json.loads((folder / "model.certificate.json").read_text("utf-8"))


def images(count: int = 3) -> list[Image.Image]:
    random = np.random.default_rng(4)
    return [Image.fromarray(random.integers(0, 255, (70, 90, 3), np.uint8)) for _ in range(count)]


@pytest.fixture(scope="module")
def with_everything(make_checkpoint, tmp_path_factory):
    """One export with detections in the graph and the sidecars beside it; its folder."""
    folder = tmp_path_factory.mktemp("options")
    export(make_checkpoint(), folder, postprocess=True, num_select=6, serialize_nvdsinfer=True)
    return folder


def test_the_certificate_says_what_was_proven(with_everything, make_checkpoint) -> None:
    """Errors, batch sizes, signature, versions and the hashes of both files are in it."""
    certificate = certificate_of(with_everything)
    assert certificate["passed"]
    assert certificate["comparison"]["batch_sizes"] == [1, 3]
    assert certificate["comparison"]["max_error_logits"] < 1e-4
    assert certificate["comparison"]["same_detections"] == 1.0
    for key, path in (
        ("onnx_sha256", with_everything / "model.onnx"),
        ("checkpoint_sha256", make_checkpoint()),
    ):
        assert certificate[key] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert {"torch", "onnx", "onnxruntime", "ddetr-export"} <= set(certificate["versions"])
    assert all(check["passed"] for check in certificate["checks"])
    assert certificate["inputs"][0]["shape"] == ["batch", 3, HEIGHT, WIDTH]


def test_detections_in_the_graph_are_those_outside(
    with_everything, make_checkpoint, tmp_path
) -> None:
    """The same checkpoint with and without post-processing inside gives the same detections."""
    plain = open_detector(export(make_checkpoint(), tmp_path).path, num_select=6)
    inside = open_detector(with_everything / "model.onnx")
    for expected, found in zip(plain.predict(images()), inside.predict(images()), strict=True):
        assert len(found) == 6
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
        np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, atol=1e-2)


def test_sidecars_know_the_classes(with_everything) -> None:
    """There is a label a class index, and both configurations name the file's tensors."""
    labels = (with_everything / "labels.txt").read_text("utf-8").splitlines()
    assert labels == ["class_0", "red cell", "platelet"]
    yaml = pytest.importorskip("yaml")
    settings = yaml.safe_load((with_everything / "nvdsinfer_config.yaml").read_text("utf-8"))
    assert settings["property"]["num-detected-classes"] == len(labels)
    assert settings["property"]["infer-dims"] == f"3;{HEIGHT};{WIDTH}"
    assert "parse-bbox-func-name" not in settings["property"]  # none reads these outputs
    triton = (with_everything / "config.pbtxt").read_text("utf-8")
    assert 'name: "target_sizes", data_type: TYPE_FP32, dims: [2]' in triton
    assert 'name: "boxes", data_type: TYPE_FP32, dims: [6, 4]' in triton


def test_triton_batches_only_what_has_a_free_batch(
    with_everything, make_checkpoint, tmp_path
) -> None:
    """A fixed batch stands in the sizes of the tensors, where Triton wants it."""
    dynamic = (with_everything / "config.pbtxt").read_text("utf-8")
    assert "max_batch_size: 16" in dynamic
    assert f"dims: [3, {HEIGHT}, {WIDTH}]" in dynamic
    export(make_checkpoint(), tmp_path, batch_size=2, serialize_nvdsinfer=True)
    fixed = (tmp_path / "config.pbtxt").read_text("utf-8")
    assert "max_batch_size: 0" in fixed
    assert f"dims: [2, 3, {HEIGHT}, {WIDTH}]" in fixed


def test_deepstream_reads_raw_outputs_by_its_tao_library(make_checkpoint, tmp_path) -> None:
    """The function, the library that holds it, and its way with class 0."""
    yaml = pytest.importorskip("yaml")
    metadata = describe(load_checkpoint(make_checkpoint()), ExportConfig())
    numbered = replace(metadata, categories=(Category(0, "cell"), Category(2, "red")))
    for known, drops_a_class in ((metadata, False), (numbered, True)):
        contents = sidecars(tmp_path / "m.onnx", ExportConfig(), known, num_queries=15)
        text = contents[tmp_path / "nvdsinfer_config.yaml"].decode()
        settings = yaml.safe_load(text)["property"]
        assert settings["parse-bbox-func-name"] == "NvDsInferParseCustomDDETRTAO"
        assert settings["custom-lib-path"].endswith("/libnvds_infercustomparser_tao.so")
        assert ("takes class 0 for background" in text) == drops_a_class
        scale, offsets = settings["net-scale-factor"], settings["offsets"].split(";")
        white = [scale * (255 - float(each)) for each in offsets]  # nvinfer's formula
        np.testing.assert_allclose(white, [2, 2, 2], atol=1e-3)  # mean 0.5, deviation 0.25


def test_sidecars_of_another_model_stay(make_checkpoint, tmp_path) -> None:
    """Their names do not depend on the model's, so they may be another one's."""
    (tmp_path / "labels.txt").write_text("cat\n")
    with pytest.raises(FileExistsError, match=r"labels\.txt exists.*overwrite=true"):
        export(make_checkpoint(), tmp_path, serialize_nvdsinfer=True)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.txt"]


def test_triton_gets_as_many_queries_as_the_file_gives(make_checkpoint, tmp_path) -> None:
    """Two stages propose no more boxes than there are pixels."""
    checkpoint = make_checkpoint(two_stage=True, num_queries=500)
    path = export(checkpoint, tmp_path, serialize_nvdsinfer=True).path
    dims = [each.dim_value for each in onnx.load(path).graph.output[0].type.tensor_type.shape.dim]
    assert dims[1] < 500
    assert f"dims: {dims[1:]}" in (tmp_path / "config.pbtxt").read_text("utf-8")


def test_two_stages_export(make_checkpoint, tmp_path) -> None:
    """Proposals from the encoder are chosen inside the file."""
    report = export(make_checkpoint(two_stage=True), tmp_path)
    assert report.max_error_logits < 1e-4
    assert certificate_of(tmp_path)["comparison"]["same_detections"] == 1.0


def test_half_precision_halves_the_file(make_checkpoint, tmp_path) -> None:
    """A half-precision plugin file passes, and its plugin nodes still compute in 32 bit."""
    report = export(make_checkpoint(), tmp_path, precision="fp16", on_cpu=False)
    assert 0 < report.max_error_logits < 0.1
    model = onnx.load(report.path)
    types = {each.name: each.data_type for each in model.graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types.values()
    contract = [each for each in certificate_of(tmp_path)["checks"] if "plugin" in each["name"]]
    assert contract[0]["passed"]


def test_proposals_may_swap_their_order_in_half_precision(make_checkpoint, tmp_path) -> None:
    """Those of two stages have close scores; each is compared with itself all the same."""
    report = export(make_checkpoint(two_stage=True), tmp_path, precision="fp16", opset_version=17)
    assert 0 < report.max_error_logits < 0.02
    assert 0 < report.max_error_boxes < 0.02


def test_eight_bits_are_calibrated_with_a_fixed_batch(make_checkpoint, tmp_path) -> None:
    """Three images in runs of two: the first one fills up the last run."""
    for index, image in enumerate(images()):
        image.save(tmp_path / f"{index}.png")
    settings = {"calibration_image_dir": str(tmp_path), "check_image_dir": str(tmp_path)}
    report = export(
        make_checkpoint(),
        tmp_path,
        precision="int8_qdq",
        opset_version=13,
        batch_size=2,
        **settings,
    )
    assert 0 < report.max_error_logits < 2


def test_eight_bits_come_from_the_users_images(make_checkpoint, tmp_path) -> None:
    """Ranges are measured on a folder of images; its absence is said before any work."""
    for index, image in enumerate(images()):
        image.save(tmp_path / f"{index}.png")
    report = export(
        make_checkpoint(),
        tmp_path,
        precision="int8_qdq",
        opset_version=13,
        calibration_image_dir=str(tmp_path),
        check_image_dir=str(tmp_path),
    )
    operators = [node.op_type for node in onnx.load(report.path).graph.node]
    assert operators.count("QuantizeLinear") > 10
    assert 0 < report.max_error_logits < 2


def test_a_file_that_tensorrt_would_refuse_is_an_error(
    make_checkpoint, tmp_path, monkeypatch
) -> None:
    """A plugin node that breaks the contract stops the export, and nothing is kept."""
    real = prepared_export.embed_fallback

    def damage(model) -> None:
        real(model)
        for node in model.graph.node:
            if node.domain:
                del node.attribute[:]

    monkeypatch.setattr(prepared_export, "embed_fallback", damage)
    with pytest.raises(ExportError, match="attribute plugin_version must be a string"):
        export(make_checkpoint(), tmp_path, on_cpu=False)
    assert list(tmp_path.iterdir()) == []
