"""From a checkpoint alone to an ONNX file that computes the same."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("ddetr_model")

import onnx.parser  # noqa: E402
import onnxruntime  # noqa: E402
from PIL import Image  # noqa: E402

from ddetr_data.images import PreprocessConfig, preprocess  # noqa: E402
from ddetr_export import (  # noqa: E402
    ExportConfig,
    ExportError,
    export_onnx,
    open_detector,
    prepared_export,
)
from ddetr_export.proof import first_divergence  # noqa: E402
from ddetr_model import load_checkpoint  # noqa: E402
from ddetr_model.postprocessing import postprocess  # noqa: E402

HEIGHT, WIDTH = 64, 96
OUTPUTS = ["pred_logits", "pred_boxes"]
# Two levels and a decoder of one layer: the newer exporter takes half the time of four and two.
SLIM = {"num_feature_levels": 2, "return_interm_indices": (1, 2), "dec_layers": 1}
GC_VIT = {
    "backbone": "gc_vit_xxtiny",
    "num_feature_levels": 3,
    "return_interm_indices": (1, 2, 3),
    "dec_layers": 1,
}
# Sums in another order, over the few layers of a small model.
TOLERANCE = 1e-4


def export(checkpoint, folder, **settings):
    sizes = {"input_height": HEIGHT, "input_width": WIDTH}
    config = ExportConfig(**{**sizes, **settings})
    return export_onnx(checkpoint, folder / "model.onnx", config)


def opset_of(path) -> int:
    return {each.domain: each.version for each in onnx.load(path).opset_import}[""]


def run_both(checkpoint, path, batch: int):
    """Logits and boxes of a random batch, from ONNX Runtime and from PyTorch."""
    session = onnxruntime.InferenceSession(path)
    model = load_checkpoint(checkpoint)
    _, _, height, width = session.get_inputs()[0].shape
    images = torch.randn(batch, 3, height, width)
    with torch.no_grad():
        expected = model(images)
    found = session.run(OUTPUTS, {"inputs": images.numpy()})
    return zip(found, (expected.pred_logits.numpy(), expected.pred_boxes.numpy()), strict=True)


@pytest.fixture(scope="module")
def plain_file(make_checkpoint, tmp_path_factory):
    """One export with the defaults, for the tests that only look at it."""
    return export(make_checkpoint(), tmp_path_factory.mktemp("plain")).path


OPSETS = [
    *((opset, "auto", True) for opset in (11, 12, 16)),
    *((17, sampling, True) for sampling in ("grid", "gather")),
    *(
        pytest.param(*row, marks=pytest.mark.slow)
        for row in [
            *((opset, "auto", opset % 2 == 0) for opset in (13, 14, 15, 18, 19, 21, 22, 23)),
            *((20, sampling, True) for sampling in ("grid", "gather")),
        ]
    ),
]


@pytest.mark.parametrize(("opset", "sampling", "on_cpu"), OPSETS)
def test_every_opset_is_written_as_asked(
    make_checkpoint, tmp_path, opset, sampling, on_cpu
) -> None:
    """From 11 to 23, with standard operators or plugin nodes, right at batch 1 and 3."""
    checkpoint = make_checkpoint(**SLIM)
    report = export(checkpoint, tmp_path, opset_version=opset, sampling=sampling, on_cpu=on_cpu)
    assert opset_of(report.path) == report.opset == opset
    operators = {node.op_type for node in onnx.load(report.path).graph.node}
    assert ("GridSample" in operators) == (on_cpu and opset >= 16 and sampling != "gather")
    # ONNX Runtime computes it from E[x^2] - E[x]^2: too few digits.
    assert "GroupNormalization" not in operators
    for batch in (1, 3):
        for found, expected in run_both(checkpoint, report.path, batch):
            np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (GC_VIT, {}),
        (GC_VIT, {"opset_version": 17, "input_height": 75}),
        ({"backbone": "resnet_50", "dilation": True}, {"input_width": 101}),
        ({"two_stage": True}, {"opset_version": 11, "batch_size": 1}),
        ({**SLIM, "two_stage": True}, {"opset_version": 18}),
        (SLIM, {"opset_version": 18, "batch_size": 1}),
        ({"backbone": "timm:mobilevit_xxs"}, {}),
    ],
    ids=[
        "GCViT",
        "GCViT, odd size",
        "DC5",
        "two stages",
        "two stages, new exporter",
        "fixed batch, new exporter",
        "timm's fused attention",
    ],
)
def test_every_backbone_exports_both_ways(
    make_checkpoint, tmp_path, model, settings, on_cpu
) -> None:
    """GCViT, dilated ResNet and proposals, as standard operators and as plugin nodes."""
    checkpoint = make_checkpoint(**model)
    report = export(checkpoint, tmp_path, on_cpu=on_cpu, **settings)
    assert report.max_error_logits < TOLERANCE
    batch = 1 if "batch_size" in settings else 2
    for found, expected in run_both(checkpoint, report.path, batch):
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_feature_levels": 1, "return_interm_indices": (1,)},
        {"num_feature_levels": 5, "return_interm_indices": (0, 1, 2, 3, 4)},
        {"with_box_refine": False},
        {"num_feature_levels": 2, "return_interm_indices": (1, 2), "aux_loss": False},
        {"num_feature_levels": 3, "return_interm_indices": (1, 2, 3)},
    ],
    ids=["one level", "five levels", "no refinement", "no auxiliary losses", "three levels"],
)
def test_every_architecture_exports(make_checkpoint, tmp_path, settings) -> None:
    """Levels, refinement and losses may be any."""
    checkpoint = make_checkpoint(**settings)
    report = export(checkpoint, tmp_path)
    for found, expected in run_both(checkpoint, report.path, batch=2):
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_names_shapes_and_the_dynamic_batch(plain_file) -> None:
    """The file has the names, ranks and free batch that TAO's users know."""
    session = onnxruntime.InferenceSession(plain_file)
    shapes = {each.name: each.shape for each in (*session.get_inputs(), *session.get_outputs())}
    assert shapes == {
        "inputs": ["batch", 3, HEIGHT, WIDTH],
        "pred_logits": ["batch", 15, 3],
        "pred_boxes": ["batch", 15, 4],
    }


def test_a_fixed_batch_is_insisted_on(make_checkpoint, tmp_path) -> None:
    """A file of batch 2 takes two images and refuses three."""
    path = export(make_checkpoint(), tmp_path, batch_size=2).path
    for found, expected in run_both(make_checkpoint(), path, batch=2):
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    with pytest.raises(Exception, match="Got: 3 Expected: 2"):
        run_both(make_checkpoint(), path, batch=3)


def test_odd_input_sizes_export(make_checkpoint, tmp_path) -> None:
    """Sizes that no stride divides are fine."""
    report = export(make_checkpoint(), tmp_path, input_height=75, input_width=101)
    for found, expected in run_both(make_checkpoint(), report.path, batch=2):
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_detector_finds_what_the_checkpoint_finds(make_checkpoint, plain_file) -> None:
    """The torch-free runtime's boxes, scores and labels equal the PyTorch path's."""
    images = [
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, size, np.uint8))
        for seed, size in enumerate([(50, 70, 3), (130, 90, 3), (64, 96, 3)])
    ]
    detector = open_detector(plain_file, batch_size=2)
    model = load_checkpoint(make_checkpoint())
    config = PreprocessConfig(
        mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), mode="fixed", height=HEIGHT, width=WIDTH
    )
    assert [each.name for each in detector.categories] == ["red cell", "platelet"]
    for image, found in zip(images, detector.predict(images), strict=True):
        with torch.no_grad():
            outputs = model(torch.from_numpy(preprocess(image, config))[None])
        size_hw = torch.tensor([[image.height, image.width]])
        known = [each.id for each in detector.categories]
        (expected,) = postprocess(outputs, size_hw, model.config.num_select, known)
        np.testing.assert_allclose(found.scores, expected["scores"], atol=TOLERANCE)
        np.testing.assert_array_equal(found.labels, expected["labels"])
        np.testing.assert_allclose(found.boxes_xyxy, expected["boxes_xyxy"], atol=0.05)


def test_an_existing_file_stays_unless_overwritten(make_checkpoint, tmp_path) -> None:
    """Without overwrite the old file is kept and the error says how to replace it."""
    (tmp_path / "model.onnx").write_bytes(b"old")
    with pytest.raises(FileExistsError, match="overwrite=true"):
        export(make_checkpoint(), tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == b"old"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"on_cpu": False},
        {"precision": "fp16", "opset_version": 17},
        pytest.param({"opset_version": 18}, marks=pytest.mark.slow),
    ],
    ids=["plain", "plugin", "half", "new exporter"],
)
def test_a_wrong_file_never_gets_its_name(make_checkpoint, tmp_path, monkeypatch, settings) -> None:
    """A difference above the tolerance is an error that says where; the folder stays as it was."""
    make_draft = prepared_export.make_draft

    def make_damaged(model, config, metadata):
        graph, exported = make_draft(model, config, metadata)
        for tensor in exported.graph.initializer:
            if tensor.name.endswith("encoder.layers.0.norm1.bias"):
                damaged = onnx.numpy_helper.to_array(tensor) + 9
                tensor.CopyFrom(onnx.numpy_helper.from_array(damaged, tensor.name))
        return graph, exported

    monkeypatch.setattr(prepared_export, "make_draft", make_damaged)
    message = r"in logits, more than 0\.\d+.*first in transformer\.encoder\.layers\.0\.norm1 "
    with pytest.raises(ExportError, match=message):
        export(make_checkpoint(**SLIM), tmp_path, **settings)
    assert list(tmp_path.iterdir()) == []


def test_large_values_do_not_hide_where_it_went_wrong() -> None:
    """Rounding of a million is no divergence; a wrong sum after it is."""

    class Scale(torch.nn.Module):
        def forward(self, inputs):
            return inputs * 1e6

    class Shift(torch.nn.Module):
        def forward(self, scaled):
            return scaled * 1e-6 + 5

    graph = torch.nn.Sequential()
    graph.add_module("scale", Scale())
    graph.add_module("shift", Shift())
    exported = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 12]>
        m (float[1, 3, 2, 2] inputs) => (float[1, 3, 2, 2] shifted)
        <float million = {1000000.1}, float millionth = {0.000001}, float six = {6.0}>
        { scaled = Mul(inputs, million)  small = Mul(scaled, millionth)  shifted = Add(small, six) }
    """)
    names = ("/scale/Mul", "/shift/Mul", "/shift/Add")
    for node, name in zip(exported.graph.node, names, strict=True):
        node.name = name
    images = np.ones((1, 3, 2, 2), np.float32)
    assert first_divergence(graph, exported, images, 1e-3) == "shift (/shift/Add)"


def test_a_checkpoint_with_nan_is_refused(make_checkpoint, tmp_path) -> None:
    """The tensor is named, before anything is traced."""
    contents = torch.load(make_checkpoint(), weights_only=True)
    contents["state_dict"]["transformer.encoder.layers.0.norm1.bias"][3] = float("nan")
    torch.save(contents, tmp_path / "nan.pth")
    message = r"nan\.pth has NaN .* in .*encoder\.layers\.0\.norm1\.bias"
    with pytest.raises(ValueError, match=message):
        export(tmp_path / "nan.pth", tmp_path)


def test_a_missing_checkpoint_is_named(tmp_path) -> None:
    """The error names the file that is not there."""
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        export(tmp_path / "absent.pth", tmp_path)


def test_overwriting_is_silent_and_complete(make_checkpoint, tmp_path, capfd, recwarn) -> None:
    """The old file is replaced; PyTorch's warnings and prints do not reach the console."""
    (tmp_path / "model.onnx").write_bytes(b"old")
    assert export(make_checkpoint(), tmp_path, overwrite=True).megabytes > 1
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["model.certificate.json", "model.onnx"]
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert not recwarn.list


def test_no_path_of_this_machine_is_in_the_file(plain_file) -> None:
    """The exporter's notes on where in the source a node came from are dropped."""
    assert b"site-packages" not in plain_file.read_bytes()
