"""AP of the file beside AP of PyTorch, on the same labelled images."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ddetr_data import Category, DataSource, load_sources, make_dataset
from ddetr_data.images import PreprocessConfig
from ddetr_export.proof import ForwardDetector, score_networks

CATEGORIES = (Category(1, "red cell"), Category(2, "platelet"))
CONFIG = PreprocessConfig(mode="fixed", height=64, width=96)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    made = make_dataset(folder, num_images={"val": 5}, image_size_hw=(64, 96), num_classes=2)
    source = DataSource(image_dir=str(folder / "images/val"), json_file=made.json_files["val"])
    loaded = load_sources([source], num_classes=None)
    return replace(loaded, categories=CATEGORIES)  # those of make_checkpoint


def knowing(labelled, shift: float):
    """A network that answers with the labels of the images in turn, its boxes shifted."""
    records = list(labelled.images)
    given = iter(records)

    def forward(images):
        logits = np.full((len(images), 20, 3), -20, np.float32)
        boxes = np.full((len(images), 20, 4), 0.5, np.float32)
        for row, record in zip(range(len(images)), given, strict=False):
            for index, (box, label) in enumerate(
                zip(record.boxes_xywh, record.labels, strict=True)
            ):
                left, top, width, height = box / (96, 64, 96, 64)
                centre = (left + width / 2 + shift, top + height / 2)
                boxes[row, index] = (*centre, width, height)
                logits[row, index, label] = 9
        return logits, boxes

    return forward


def score(networks, labelled, most_images=9, batch_size=1, **options):
    detectors = {
        name: ForwardDetector(forward, CONFIG, 20, batch_size) for name, forward in networks.items()
    }
    return score_networks(
        detectors, labelled, most_images, on_progress=lambda _words: None, **options
    )


def test_a_network_that_knows_the_labels_scores_one(labelled) -> None:
    """A shifted one scores less; both stand side by side."""
    networks = {"PyTorch": knowing(labelled, 0), "int8_qdq": knowing(labelled, 0.05)}
    exact, shifted = score(networks, labelled)
    assert (exact.network, exact.AP, exact.images) == ("PyTorch", 1.0, 5)
    assert shifted.network == "int8_qdq"
    assert shifted.AP < 0.9


@pytest.mark.parametrize(("most_images", "batch_size"), [(2, 1), (3, 2), (9, 4)])
def test_part_of_a_set_and_any_batch(labelled, most_images, batch_size) -> None:
    """The first images are used, and a last batch is filled up."""
    (exact,) = score({"x": knowing(labelled, 0)}, labelled, most_images, batch_size)
    assert (exact.AP, exact.images) == (1.0, min(5, most_images))


def test_only_the_classes_asked_for_count(labelled) -> None:
    """A network that never finds class 2 scores one on class 1 alone, as evaluate would say."""

    def first_class_only():
        know = knowing(labelled, 0)

        def forward(images):
            logits, boxes = know(images)
            return np.where([True, True, False], logits, np.float32(-20)), boxes

        return forward

    (alone,) = score({"x": first_class_only()}, labelled, category_ids=(1,))
    (among_all,) = score({"x": first_class_only()}, labelled)
    assert alone.AP == 1.0
    assert among_all.AP < 1.0


def test_images_without_objects_have_no_score(labelled) -> None:
    """There is nothing to be found, so the figures are absent."""
    from ddetr_data.types import Annotations

    empty = [replace(record, annotations=Annotations()) for record in labelled.images]
    (none,) = score({"x": knowing(labelled, 0)}, replace(labelled, images=empty))
    assert none.AP is None


def test_the_detector_answers_for_each_image(labelled) -> None:
    """As many results as images, also when the batch does not divide their number."""
    detector = ForwardDetector(knowing(labelled, 0), CONFIG, 20, batch_size=2)
    found = detector.predict([record.path for record in labelled.images])
    assert [len(each) for each in found] == [20] * 5


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8_qdq"])
def test_an_export_certifies_its_scores(labelled, make_checkpoint, tmp_path, precision) -> None:
    """PyTorch's and the file's, in the report and in the certificate."""
    pytest.importorskip("torch")
    from ddetr_export import ExportConfig, export_onnx

    folder = str(labelled.images[0].path.parent)
    config = ExportConfig(
        input_height=64,
        input_width=96,
        opset_version=17,
        precision=precision,
        calibration_image_dir=folder,
        score_images=3,
    )
    report = export_onnx(make_checkpoint(), tmp_path / "m.onnx", config, labelled=labelled)
    assert [each.network for each in report.scores] == ["PyTorch", precision]
    certificate = json.loads((tmp_path / "m.certificate.json").read_text("utf-8"))
    assert [each["images"] for each in certificate["scores"]] == [3, 3]
    assert certificate["scores"][1]["AP"] == report.scores[1].AP


def test_labels_beyond_the_models_classes_are_told(labelled, make_checkpoint, tmp_path) -> None:
    """Before anything is traced."""
    pytest.importorskip("torch")
    from ddetr_export import ExportConfig, export_onnx

    wrong = replace(labelled, categories=(*labelled.categories, Category(7, "seven")))
    with pytest.raises(ValueError, match=r"category ids up to 7.*num_classes 3"):
        export_onnx(make_checkpoint(), tmp_path / "m.onnx", ExportConfig(), labelled=wrong)


def test_labels_of_other_class_names_are_refused(labelled, make_checkpoint, tmp_path) -> None:
    """The same ids under other names would give scores that mean nothing."""
    # fault 21
    pytest.importorskip("torch")
    from ddetr_export import ExportConfig, prepare_export

    config = ExportConfig(input_height=64, input_width=96)
    other = tuple(replace(each, name=f"other {each.name}") for each in labelled.categories)
    wrong = replace(labelled, categories=other)
    sentence = f"class names differ: id 1 is .* in the checkpoint and {other[0].name!r} in the lab"
    with pytest.raises(ValueError, match=sentence):
        prepare_export(make_checkpoint(), tmp_path / "m.onnx", config, labelled=wrong)
