"""A checkpoint as a detector: pixels, batches, devices, processes, and files that are refused."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from ddetr_data.config import AugmentationConfig, DatasetConfig
from ddetr_data.detection import DeviceConfig, EvaluateConfig, InferenceConfig, evaluate, label
from ddetr_data.images import open_image, pad_batch, preprocess
from ddetr_data.synthetic import SyntheticDataset
from ddetr_model import (
    DeformableDETR,
    inference_form,
    load_checkpoint,
    postprocess,
    save_checkpoint,
)
from ddetr_train import TorchDetector, open_detector
from ddetr_train.process import joined_ranks


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
    detector, model = TorchDetector(checkpoint), load_checkpoint(checkpoint)
    pixels, mask = pad_batch([preprocess(pictures[0], detector.preprocess_config)])
    with torch.inference_mode():
        outputs = model(torch.from_numpy(pixels), torch.from_numpy(mask))
    known = [category.id for category in detector.categories]
    size_hw = torch.tensor([[64, 64]])
    expected = postprocess(outputs, size_hw, model.config.num_select, known)[0]
    (found,) = detector.predict(pictures[:1])
    np.testing.assert_allclose(found.boxes_xyxy, expected["boxes_xyxy"], atol=1e-3)  # pixels


def test_several_devices_share_a_batch(checkpoint, pictures) -> None:
    """Two replicas give the results of one, in order."""
    one = TorchDetector(checkpoint, batch_size=3).predict(pictures)
    two = TorchDetector(checkpoint, batch_size=3, device=["cpu", "cpu"]).predict(pictures)
    for left, right in zip(one, two, strict=True):
        np.testing.assert_allclose(left.scores, right.scores, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_the_batch_size_changes_no_detection(checkpoint, pictures, batch_size) -> None:
    """Also when it is larger than the set."""
    detector = open_detector(checkpoint, batch_size=batch_size)
    assert detector.batch_size == batch_size
    alone = open_detector(checkpoint).predict(pictures)
    for one, other in zip(alone, detector.predict(pictures), strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)


def test_a_fixed_size_is_used(checkpoint, pictures) -> None:
    """Detections at another input size differ, and stay inside the images' coordinates."""
    fixed = open_detector(checkpoint, input_size_hw=(32, 96))
    assert fixed.preprocess_config.resizing == "stretched to 32 x 96 pixels (height x width)"
    own = open_detector(checkpoint)
    (stretched,), (kept,) = fixed.predict(pictures[:1]), own.predict(pictures[:1])
    assert not np.array_equal(stretched.scores, kept.scores)
    assert stretched.boxes_xyxy.min() > -64
    assert stretched.boxes_xyxy.max() < 128


def test_it_says_what_runs_it_and_where(checkpoint, monkeypatch) -> None:
    """The CPU where there is no GPU, which is told as long as GPUs are not ruled out."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    detector = open_detector(checkpoint)
    assert detector.description == "model.pth runs on cpu (no GPU on this machine)"
    assert detector.num_classes == 4
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="ask for GPU 3"):
        open_detector(checkpoint, devices=DeviceConfig(gpu_ids=(3,)))


def test_the_page_size_is_the_default_for_bare_checkpoints(model_config, tmp_path) -> None:
    """Without stored preprocessing the page's own is used."""
    save_checkpoint(DeformableDETR(model_config), tmp_path / "bare.pth")
    config = TorchDetector(tmp_path / "bare.pth").preprocess_config
    assert config.shortest_edge == AugmentationConfig().test_random_resize


def test_a_missing_checkpoint_is_named(tmp_path) -> None:
    """The path is in the error."""
    with pytest.raises(FileNotFoundError, match=r"lost\.pth"):
        open_detector(tmp_path / "lost.pth")


def test_labels_beyond_the_model_are_refused(
    model_config, synthetic: SyntheticDataset, dataset: DatasetConfig, tmp_path
) -> None:
    """A model of two classes is not scored on three."""
    path = tmp_path / "small.pth"
    save_checkpoint(DeformableDETR(model_config.model_copy(update={"num_classes": 3})), path)
    with pytest.raises(ValueError, match="num_classes"):
        evaluate(open_detector(path), dataset, EvaluateConfig(), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "slurm"])
def test_launched_processes_leave_what_one_does(
    launcher, checkpoint, dataset, tmp_path, as_ranks
) -> None:
    """Two processes give, byte for byte, the same files, and each has the figures of all."""
    config = InferenceConfig(conf_threshold=0.0, coco_json=True, csv=True)

    def work(name: str) -> None:
        detector, folder = open_detector(checkpoint), tmp_path / name
        with joined_ranks() as ranks:
            scores = evaluate(detector, dataset, EvaluateConfig(), folder / "scores", ranks=ranks)
            summary = label(detector, dataset, config, folder / "labels", ranks=ranks)
        counts = f"{summary.images} {scores.overall['AP']}"
        (tmp_path / f"{name}-{os.getpid()}.count").write_text(counts)

    work("one")
    assert as_ranks(partial(work, "two"), launcher) == [0, 0]
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    counts = {path.read_text() for path in tmp_path.glob("*.count")}
    assert len(counts) == 1
    assert counts.pop().startswith("3 ")


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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_checkpoint_runs_in_the_form_that_is_asked_for(precision, checkpoint, pictures):
    """Its boxes and scores are those of the plain network, to the rounding of the precision."""
    form = partial(inference_form, precision=precision)
    plain = TorchDetector(checkpoint, form=lambda network: network.eval()).predict(pictures)
    found = open_detector(checkpoint, form=form).predict(pictures)
    tolerance = 1e-3 if precision == "fp32" else 0.05
    for mine, theirs in zip(found, plain, strict=True):
        np.testing.assert_allclose(mine.scores, theirs.scores, atol=tolerance)
