"""Scores of a checkpoint, from the file alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ddetr_data.config import AugmentationConfig, DatasetConfig, DataSource
from ddetr_data.detection import EvaluateConfig
from ddetr_data.synthetic import SyntheticDataset
from ddetr_model.checkpoints import save_checkpoint
from ddetr_model.deformable_detr import DeformableDETR
from ddetr_train.detection import TorchDetector, evaluate

CATEGORIES = [{"id": 1, "name": "circle"}, {"id": 2, "name": "square"}, {"id": 3, "name": "bar"}]


@pytest.fixture(scope="module")
def checkpoint(model_config, dataset, synthetic, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pth"
    names = [{"id": i, "name": name} for i, name in enumerate(synthetic.class_names, start=1)]
    preprocess = {"mode": "shortest_edge", "shortest_edge": 64, "max_size": 64}
    save_checkpoint(DeformableDETR(model_config), path, categories=names, preprocess=preprocess)
    return path


def test_results_are_written_and_returned(checkpoint, dataset, tmp_path, recorder) -> None:
    """results.json has the 12 figures and classes, detections.json all detections."""
    scores = evaluate(checkpoint, dataset, EvaluateConfig(), tmp_path, observers=[recorder])
    written = json.loads((tmp_path / "results.json").read_text())
    assert "AP50" in json.dumps(written)
    assert len(scores.overall) == 12
    found = json.loads((tmp_path / "detections.json").read_text())
    assert {row["image_id"] for row in found} == {1, 2, 3}
    assert [event.step for event in recorder.of("step")][-1] == 3
    assert recorder.events[-1].kind == "finished"


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_the_batch_size_changes_no_detection(checkpoint, dataset, tmp_path, batch_size) -> None:
    """Also when it is larger than the set."""
    for name, size in (("one", 1), ("other", batch_size)):
        evaluate(checkpoint, dataset, EvaluateConfig(batch_size=size), tmp_path / name)
    one, other = (
        json.loads((tmp_path / name / "detections.json").read_text()) for name in ("one", "other")
    )
    assert [row["image_id"] for row in one] == [row["image_id"] for row in other]
    assert [row["score"] for row in one] == pytest.approx([row["score"] for row in other], abs=1e-4)


def test_a_threshold_leaves_images_and_ids_alone(checkpoint, dataset, tmp_path) -> None:
    """Rows above it are those of before; with none left the scores are still computed."""
    evaluate(checkpoint, dataset, EvaluateConfig(), tmp_path / "all")
    every = json.loads((tmp_path / "all" / "detections.json").read_text())
    middle = sorted(row["score"] for row in every)[len(every) // 2]
    evaluate(checkpoint, dataset, EvaluateConfig(conf_threshold=middle), tmp_path / "some")
    some = json.loads((tmp_path / "some" / "detections.json").read_text())
    assert some == [row for row in every if row["score"] >= middle]
    scores = evaluate(checkpoint, dataset, EvaluateConfig(conf_threshold=1.0), tmp_path / "none")
    assert scores.overall["AP"] == 0


def test_a_single_image_can_be_scored(checkpoint, dataset, synthetic, tmp_path) -> None:
    """A set smaller than the batch is no error."""
    source = DataSource(
        image_dir=str(synthetic.image_dirs["one"]), json_file=str(synthetic.json_files["one"])
    )
    one = dataset.model_copy(update={"test_data_sources": (source,), "batch_size": 16})
    evaluate(checkpoint, one, EvaluateConfig(), tmp_path)


def test_several_sources_are_scored_apart_too(checkpoint, dataset, tmp_path) -> None:
    """results.json has each source's figures under its name; one source needs no such part."""
    evaluate(checkpoint, dataset, EvaluateConfig(), tmp_path / "one")
    assert "per_source" not in json.loads((tmp_path / "one" / "results.json").read_text())
    two = (*dataset.test_data_sources, *dataset.train_data_sources)
    both = dataset.model_copy(update={"test_data_sources": two})
    evaluate(checkpoint, both, EvaluateConfig(), tmp_path / "two")
    parts = json.loads((tmp_path / "two" / "results.json").read_text())["per_source"]
    alone = json.loads((tmp_path / "one" / "results.json").read_text())
    assert [Path(name).stem for name in parts] == ["instances_val", "instances_train"]
    assert next(iter(parts.values()))["overall"] == pytest.approx(alone["overall"], abs=1e-6)


def test_several_processes_score_as_one(checkpoint, dataset, tmp_path, as_ranks) -> None:
    """Under a launcher the files are those of one process."""
    config = EvaluateConfig(batch_size=2)
    evaluate(checkpoint, dataset, config, tmp_path / "one")
    assert as_ranks(lambda: evaluate(checkpoint, dataset, config, tmp_path / "two")) == [0, 0]
    for name in ("results.json", "detections.json"):
        assert (tmp_path / "two" / name).read_text() == (tmp_path / "one" / name).read_text()


def test_scores_can_be_limited_to_classes(checkpoint, dataset, tmp_path) -> None:
    """An id that the data do not have is an error."""
    limited = dataset.model_copy(update={"eval_class_ids": (1, 2)})
    assert len(evaluate(checkpoint, limited, EvaluateConfig(), tmp_path).per_class) == 2
    wrong = dataset.model_copy(update={"eval_class_ids": (9,)})
    with pytest.raises(ValueError, match="9"):
        evaluate(checkpoint, wrong, EvaluateConfig(), tmp_path)


def test_a_fixed_size_is_used(checkpoint, dataset, tmp_path) -> None:
    """Detections at another input size differ, and stay inside the pictures' coordinates."""
    config = EvaluateConfig(input_width=96, input_height=32)
    evaluate(checkpoint, dataset, config, tmp_path / "fixed")
    evaluate(checkpoint, dataset, EvaluateConfig(), tmp_path / "own")
    fixed, own = ((tmp_path / name / "detections.json").read_text() for name in ("fixed", "own"))
    assert fixed != own
    assert TorchDetector(checkpoint, input_size_hw=(32, 96)).preprocess_config.width == 96


def test_other_class_names_and_pixels_are_told(model_config, dataset, tmp_path, recorder) -> None:
    """A checkpoint of other names or another resize is used as it is, and the user hears of it."""
    path = tmp_path / "other.pth"
    save_checkpoint(DeformableDETR(model_config), path, categories=CATEGORIES)
    evaluate(path, dataset, EvaluateConfig(), tmp_path, observers=[recorder])
    assert "class names differ" in recorder.text()
    assert "as the checkpoint was trained" in recorder.text()


@pytest.mark.parametrize(
    ("change", "error"),
    [({"test_data_sources": ()}, "test_data_sources"), ({"labels": "lost"}, "lost")],
)
def test_missing_input_is_a_clear_error(checkpoint, dataset, tmp_path, change, error) -> None:
    """No source and a missing file are named."""
    if "labels" in change:
        source = DataSource(image_dir=str(tmp_path), json_file=str(tmp_path / "lost.json"))
        change = {"test_data_sources": (source,)}
    with pytest.raises((ValueError, FileNotFoundError), match=error):
        evaluate(checkpoint, dataset.model_copy(update=change), EvaluateConfig(), tmp_path)


def test_a_missing_checkpoint_is_a_clear_error(dataset, tmp_path) -> None:
    """The path is named."""
    with pytest.raises(FileNotFoundError, match=r"lost\.pth"):
        evaluate(tmp_path / "lost.pth", dataset, EvaluateConfig(), tmp_path)


def test_labels_beyond_the_model_are_refused(
    model_config, synthetic: SyntheticDataset, dataset: DatasetConfig, tmp_path
) -> None:
    """A model of two classes is not scored on three."""
    path = tmp_path / "small.pth"
    save_checkpoint(DeformableDETR(model_config.model_copy(update={"num_classes": 3})), path)
    with pytest.raises(ValueError, match="num_classes"):
        evaluate(path, dataset, EvaluateConfig(), tmp_path)


def test_the_page_size_is_the_default_for_bare_checkpoints(model_config, tmp_path) -> None:
    """Without stored preprocessing the page's own is used."""
    path = tmp_path / "bare.pth"
    save_checkpoint(DeformableDETR(model_config), path)
    config = TorchDetector(path).preprocess_config
    assert config.shortest_edge == AugmentationConfig().test_random_resize


@pytest.mark.slow
def test_launched_processes_score_as_one(checkpoint, dataset, tmp_path, as_ranks) -> None:
    """Each looks at its share, all have the scores, the first writes the files."""
    config = EvaluateConfig(batch_size=2)
    one = evaluate(checkpoint, dataset, config, tmp_path / "one")

    def score() -> None:
        assert evaluate(checkpoint, dataset, config, tmp_path / "two").to_dict() == one.to_dict()

    assert as_ranks(score) == [0, 0]
    for name in ("results.json", "detections.json"):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "two" / name).read_text()
