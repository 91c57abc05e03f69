"""A checkpoint as a detector, and labels for pictures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ddetr_data.config import DatasetConfig, InferSource
from ddetr_data.detection import InferenceConfig
from ddetr_data.images import open_image, pad_batch, preprocess
from ddetr_model.checkpoints import save_checkpoint
from ddetr_model.deformable_detr import DeformableDETR
from ddetr_train.detection import TorchDetector, detections_of, infer

KEEP_ALL = InferenceConfig(conf_threshold=0.0)


@pytest.fixture(scope="module")
def checkpoint(model_config, synthetic, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pth"
    names = [{"id": i, "name": name} for i, name in enumerate(synthetic.class_names, start=1)]
    save_checkpoint(
        DeformableDETR(model_config),
        path,
        categories=names,
        preprocess={"shortest_edge": 64, "max_size": 96},
    )
    return path


@pytest.fixture(scope="module")
def pictures(synthetic) -> list[Path]:
    return sorted(synthetic.image_dirs["val"].iterdir())


def test_detections_come_in_order_best_first(checkpoint, pictures, synthetic) -> None:
    """As many results as images, with the checkpoint's classes, whatever the batch."""
    detector = TorchDetector(checkpoint, batch_size=2)
    assert [each.name for each in detector.categories] == list(synthetic.class_names)
    found = detector.predict(pictures)
    assert len(found) == len(pictures)
    for each in found:
        assert (np.diff(each.scores) <= 0).all()
        assert each.boxes_xyxy.dtype == np.float32
        assert each.labels.dtype == np.int64
    assert detector.predict([]) == []


def test_paths_pictures_and_arrays_give_the_same(checkpoint, pictures) -> None:
    """The one preprocessing reads them all."""
    detector = TorchDetector(checkpoint)
    image = open_image(pictures[0])
    by_path, by_image, by_array = detector.predict([pictures[0], image, np.asarray(image)])
    assert np.array_equal(by_path.boxes_xyxy, by_image.boxes_xyxy)
    assert np.array_equal(by_path.scores, by_array.scores)


def test_the_pixels_are_those_of_the_shared_preprocessing(checkpoint, pictures) -> None:
    """The model sees exactly what the torch-free runtime would feed."""
    detector = TorchDetector(checkpoint)
    pixels, mask = pad_batch([preprocess(pictures[0], detector.preprocess_config)])
    model = detector._models[0]
    with torch.inference_mode():
        outputs = model(torch.from_numpy(pixels), torch.from_numpy(mask))
    expected = detections_of(outputs, torch.tensor([[64, 64]]), model.config.num_select)[0]
    assert np.array_equal(expected.boxes_xyxy, detector.predict(pictures[:1])[0].boxes_xyxy)


def test_several_devices_share_a_batch(checkpoint, pictures) -> None:
    """Two replicas give the results of one, in order."""
    one = TorchDetector(checkpoint, batch_size=3).predict(pictures)
    two = TorchDetector(checkpoint, batch_size=3, device=["cpu", "cpu"]).predict(pictures)
    for left, right in zip(one, two, strict=True):
        np.testing.assert_allclose(left.scores, right.scores, atol=1e-5)


def test_labels_and_pictures_are_written(checkpoint, dataset, tmp_path, recorder) -> None:
    """One KITTI file and one annotated picture for each image, and the counts in the events."""
    summary = infer(checkpoint, dataset, KEEP_ALL, tmp_path, observers=[recorder])
    assert summary.images == 3
    assert len(list((tmp_path / "labels").rglob("*.txt"))) == 3
    assert len(list((tmp_path / "images_annotated").rglob("*.jpg"))) == 3
    assert recorder.events[-1].metrics["detections"] == summary.detections > 0


def test_a_high_threshold_still_writes_a_file_for_each_image(checkpoint, dataset, tmp_path) -> None:
    """Empty label files stand for images without detections."""
    summary = infer(checkpoint, dataset, InferenceConfig(conf_threshold=1.0), tmp_path)
    assert (summary.images, summary.detections) == (3, 0)
    assert all(path.read_text() == "" for path in (tmp_path / "labels").rglob("*.txt"))


def test_results_can_be_named_by_the_images_folder(checkpoint, dataset, pictures, tmp_path) -> None:
    """is_internal writes <folder>/<file>, wherever the search began."""
    source = InferSource(image_dir=str(pictures[0]))
    one = dataset.model_copy(update={"infer_data_sources": source})
    config = InferenceConfig(conf_threshold=0.0, is_internal=True)
    infer(checkpoint, one, config, tmp_path)
    assert (tmp_path / "labels" / "val" / pictures[0].with_suffix(".txt").name).is_file()


def test_a_classmap_renames_the_classes(checkpoint, dataset, pictures, tmp_path) -> None:
    """Its lines stand for the ids in their order; another number of lines is an error."""
    classmap = tmp_path / "classmap.txt"

    def with_map(*names: str) -> DatasetConfig:
        classmap.write_text("\n".join(names))
        source = InferSource(image_dir=str(pictures[0].parent), classmap=str(classmap))
        return dataset.model_copy(update={"infer_data_sources": source})

    summary = infer(checkpoint, with_map("uno", "due", "tre"), KEEP_ALL, tmp_path)
    assert summary.per_class.keys() <= {"uno", "due", "tre", "class_0"}
    with pytest.raises(ValueError, match="names 2 classes, the checkpoint has 3"):
        infer(checkpoint, with_map("uno", "due"), KEEP_ALL, tmp_path)


@pytest.mark.parametrize(
    ("options", "error"), [({"color_map": {"circle": "no colour"}}, "colour|color")]
)
def test_a_bad_colour_is_refused(checkpoint, dataset, tmp_path, options, error) -> None:
    """Before any image is read."""
    with pytest.raises(ValueError, match=error):
        infer(checkpoint, dataset, InferenceConfig(**options), tmp_path)


def test_images_must_be_given(checkpoint, dataset, tmp_path) -> None:
    """No source and a missing folder are named."""
    nothing = dataset.model_copy(update={"infer_data_sources": None})
    with pytest.raises(ValueError, match="infer_data_sources"):
        infer(checkpoint, nothing, KEEP_ALL, tmp_path)
    source = InferSource(image_dir=str(tmp_path / "lost"))
    lost = dataset.model_copy(update={"infer_data_sources": source})
    with pytest.raises(FileNotFoundError, match="lost"):
        infer(checkpoint, lost, KEEP_ALL, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "slurm"])
def test_launched_processes_share_the_files(
    launcher, checkpoint, dataset, tmp_path, as_ranks
) -> None:
    """Two processes leave, byte for byte, what one does, and count all of it."""
    config = InferenceConfig(conf_threshold=0.0, batch_size=1, coco_json=True, csv=True)

    def label(name: str) -> None:
        summary = infer(checkpoint, dataset, config, tmp_path / name)
        (tmp_path / f"{name}-{os.getpid()}.count").write_text(f"{summary.images}")

    label("one")
    assert as_ranks(lambda: label("two"), launcher) == [0, 0]
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    counts = [path.read_text() for path in tmp_path.glob("two-*.count")]
    assert counts == ["3", "3"]


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(model_config, tmp_path: Path, bad: float) -> None:
    """They would find nothing in any image, and say nothing of it."""
    model = DeformableDETR(model_config)
    model.transformer.encoder.layers[0].linear2.weight.data[0, 0] = bad
    path = tmp_path / "broken.pth"
    save_checkpoint(model, path)
    where = r"infinite values in transformer\.encoder\.layers\.0\.linear2\.weight"
    with pytest.raises(ValueError, match=where):
        TorchDetector(path)
