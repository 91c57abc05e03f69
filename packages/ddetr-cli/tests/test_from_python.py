"""`import ddetr`: what the command does, as functions; and detection in two lines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ddetr
from ddetr_cli.app import main
from ddetr_cli.spec import Experiment, SpecError, load_tree, tree_of_values
from ddetr_data import ImageDetections

HEAVY = ("torch", "numpy", "pydantic", "PIL", "onnxruntime", "rich")


@pytest.fixture(scope="module")
def folder(wait_spec: Path) -> Path:
    """The spec of a tiny model, and drawn images."""
    return wait_spec.parent


@pytest.fixture(scope="module")
def training(folder: Path) -> ddetr.Training:
    """One epoch of it; the keyword wins over the file, the override over both."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDETR_CACHE", str(folder / "cache"))
        return ddetr.train(
            folder / "spec.yaml",
            overrides=["train.num_epochs=1"],
            results_dir=folder / "results",
            train={"num_epochs": 2},
            quiet=True,
        )


@pytest.fixture(scope="module")
def model(training: ddetr.Training) -> ddetr.Model:
    """What it has left."""
    return training.load(conf_threshold=0.0)


@pytest.fixture(scope="module")
def onnx_file(training: ddetr.Training, folder: Path) -> Path:
    """The same as ONNX."""
    block = {
        "checkpoint": training.latest_checkpoint,
        "onnx_file": folder / "model.onnx",
        "input_height": 64,
        "input_width": np.int64(64),
        "score_images": 0,
    }
    return ddetr.export(folder / "spec.yaml", export=block, quiet=True).path


def test_the_import_is_quick_and_loads_nothing() -> None:
    """Names are known before anything of them is loaded; an unknown one is told."""
    code = (
        f"import sys, ddetr; print([name for name in {HEAVY} if name in sys.modules]); "
        "print(dir(ddetr) == ddetr.__all__, hasattr(ddetr, 'nothing'))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\nTrue False\n"


def test_a_training_tells_what_it_has_left(training: ddetr.Training, folder: Path, capfd) -> None:
    """Files, figures and the record of the command; a second call has nothing left to do."""
    assert training.results_dir == folder / "results" / "train"
    assert training.best_checkpoint == training.results_dir / "dd_model_best.pth"
    assert training.epochs == 1
    assert 0 <= training.metrics["val_AP"] <= 1
    assert repr(training).startswith("Training(1 epochs in ")
    assert repr(training).endswith(f"AP50 0.000: {training.best_checkpoint})")
    lines = (training.results_dir / "status.json").read_text().splitlines()
    assert json.loads(lines[-1])["status"] == "SUCCESS"
    again = ddetr.train(folder / "spec.yaml", overrides=["train.num_epochs=1"])
    assert again.metrics["val_AP"] == training.metrics["val_AP"]
    assert again.best_checkpoint == training.best_checkpoint
    assert "nothing is left to train" in capfd.readouterr().err


def test_one_image_gives_one_answer_and_several_a_list(model: ddetr.Model, folder: Path) -> None:
    """A path, an image and an array are one; a folder, a list and a batch are several."""
    images = folder / "data" / "images" / "val"
    path = sorted(images.iterdir())[0]
    pixels = np.asarray(Image.open(path).convert("RGB"))
    for one in (path, str(path), Image.open(path), pixels):
        found = model.predict(one)
        assert isinstance(found, ImageDetections)
        assert len(found) == 10
        assert {each.name for each in found} <= {"circle", "square"}
        np.testing.assert_allclose(found.scores, model.predict([path])[0].scores, atol=1e-6)
    assert [len(each) for each in model.predict(images)] == [10, 10]
    assert [each.image for each in model.predict(images)] == sorted(images.iterdir())
    assert len(model.predict(np.stack([pixels] * 3))) == 3
    assert len(model.predict(each for each in [path])) == 1  # type: ignore[call-overload]
    assert model.predict([]) == []
    assert len(model.predict(path, threshold=1.0)) == 0
    found = model.predict(path, threshold={"circle": 1.0})  # of squares the model's own, 0
    assert len(found) == sum(each.name == "square" for each in model.predict(path))
    assert model.predict(path)._repr_html_().startswith('<div><img src="data:image/jpeg')
    assert "classes: circle, square" in repr(model)


def test_what_is_no_image_is_told(model: ddetr.Model, tmp_path: Path) -> None:
    """A lost file, a folder without images, a tensor, a number, a threshold beyond 1."""
    import torch

    for images, sentence in (("lost.png", "lost.png is missing"), (tmp_path, "no images in")):
        with pytest.raises(ddetr.InputError, match=sentence):
            model.predict(images)
    with pytest.raises(ddetr.InputError, match="threshold must be a number from 0 to 1, got 50"):
        model.predict([], threshold=50)
    with pytest.raises(ddetr.InputError, match="threshold names the class 'cat', which the model"):
        model.predict([], threshold={"cat": 0.5})
    with pytest.raises(TypeError, match=r"got Tensor; give an array \(H, W, 3\)"):
        model.predict(torch.zeros(3, 8, 8))
    with pytest.raises(TypeError, match="got int"):
        model.predict(3)  # type: ignore[call-overload]


def test_an_exported_file_is_run_without_torch(onnx_file: Path, folder: Path) -> None:
    """Loaded, run and shown; evaluate answers with the twelve figures and those of each class."""
    dataset = {
        "test_data_sources": {
            "image_dir": str(folder / "data/images/val"),
            "json_file": str(folder / "data/annotations/instances_val.json"),
        }
    }
    spec = {
        "results_dir": str(folder / "scores"),
        "dataset": dataset,
        "evaluate": {"checkpoint": str(onnx_file)},
    }
    code = (
        "import sys, ddetr\n"
        f"model = ddetr.load({str(onnx_file)!r}, conf_threshold=0)\n"
        f"found = model.predict({str(folder / 'data/images/val')!r})\n"
        "print(len(found), len(found[0]))\n"
        f"scores = ddetr.evaluate({spec!r}, quiet=True)\n"
        "print(len(scores.overall), sorted(scores.per_class), scores.results_dir)\n"
        "print(repr(scores).startswith('Evaluation(AP 0.'), 'torch' in sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    expected = ["2 10", f"12 ['circle', 'square'] {folder}/scores/evaluate", "True False"]
    assert ran.stdout.splitlines() == expected
    assert ran.stderr == ""


@pytest.mark.parametrize(
    ("spec", "more", "sentence"),
    [
        ({"train": {"num_epochs": 0}}, {}, r"train.num_epochs must be .* got 0 \(the dict\)"),
        ({}, {"train": {"nope": 1}}, r"unknown key train.nope \(an argument\)"),
        ({}, {"overrides": ["train.lr"]}, "'train.lr' is no override"),
        ({}, {"overrides": "train.lr=1"}, "overrides must be a list"),
        ({"train": {3: 1}}, {}, "train: a key must be text, got 3"),
        ({"train": {"optim": object()}}, {}, "train.optim must be plain data"),
        ({}, {}, "dataset.train_data_sources is not set"),
        ("lost.yaml", {}, "spec file lost.yaml does not exist"),
        ("a: 1\nb: 2", {}, "got a text of several lines"),
        (3, {}, "a spec must be a path or a dict, got int"),
    ],
)
def test_wrong_input_is_the_commands_sentence(
    spec: object, more: dict[str, object], sentence: str, tmp_path: Path, capfd
) -> None:
    """As an exception alone: nothing is printed, and no folder is made."""
    blocks = {"results_dir": tmp_path / "results", **more}
    with pytest.raises(ddetr.InputError, match=sentence):
        ddetr.train(spec, quiet=True, **blocks)  # type: ignore[arg-type]
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "results").exists()


def test_the_sentence_of_a_missing_file_is_the_commands(folder: Path, capfd) -> None:
    """Word for word."""
    override = "evaluate.checkpoint=lost.pth"
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "-e", str(folder / "spec.yaml"), override])
    assert ended.value.code == 2
    said = capfd.readouterr().err
    with pytest.raises(ddetr.InputError) as refused:
        ddetr.evaluate(folder / "spec.yaml", overrides=[override])
    assert said == f"ddetr: {refused.value}\n"
    assert isinstance(refused.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize(
    ("path", "options", "sentence"),
    [
        ("lost.onnx", {}, "lost.onnx does not exist"),
        (__file__, {}, "must end in .pth"),
        ("lost.onnx", {"batch_size": 0}, "batch_size must be greater than 0"),
        ("lost.onnx", {"speed": 1}, "unknown key inference.speed"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_told(path: str, options: dict, sentence: str) -> None:
    """By the checks of `ddetr inference`."""
    with pytest.raises(ddetr.InputError, match=sentence):
        ddetr.load(path, **options)


def test_packages_that_do_not_fit_are_refused(tmp_path: Path, monkeypatch) -> None:
    """By the sentence that the command has for them."""
    from ddetr_cli.from_python import model
    from ddetr_cli.versions import Misfit

    misfit = Misfit("ddetr-cli 0.1.0", "ddetr-data", ">=0.1,<0.2", "0.9.0")
    monkeypatch.setattr(model, "find_misfits", lambda _: [misfit])
    for call in (lambda: ddetr.load("m.onnx"), lambda: ddetr.train({})):
        with pytest.raises(ddetr.InputError, match=r"and 0\.9\.0 is installed: pip install"):
            call()


def test_an_interrupted_call_is_a_keyboard_interrupt(folder: Path, monkeypatch) -> None:
    """Its record is closed before, and handlers of signals are as they were."""
    import signal

    from ddetr_train.engine import PreparedTraining

    def interrupted(_: PreparedTraining) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(PreparedTraining, "run", interrupted)
    before = signal.getsignal(signal.SIGINT)
    results = folder / "interrupted"
    with pytest.raises(KeyboardInterrupt, match="the same command begins anew"):
        ddetr.train(folder / "spec.yaml", results_dir=results, quiet=True)
    assert signal.getsignal(signal.SIGINT) is before
    last = (results / "train" / "status.json").read_text().splitlines()[-1]
    assert json.loads(last)["status"] == "INTERRUPTED"


def test_a_fault_comes_as_it_is(folder: Path, monkeypatch) -> None:
    """No sentence of ours around it; its traceback is in the log too."""
    from ddetr_train.engine import PreparedTraining

    def broken(_: PreparedTraining) -> None:
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(PreparedTraining, "run", broken)
    with pytest.raises(ZeroDivisionError, match="odd"):
        ddetr.train(folder / "spec.yaml", results_dir=folder / "broken", quiet=True)
    assert "ZeroDivisionError: odd" in (folder / "broken/train/run.log").read_text()


def test_a_dict_is_read_as_a_file_is(tmp_path: Path) -> None:
    """Paths, tuples and NumPy's numbers are plain; references count; the dict stays as it is."""
    block = {"scales": (np.int64(64), 96), "test_random_resize": "${dataset.batch_size}"}
    values = {"dataset": {"batch_size": 64, "augmentation": block}, "results_dir": tmp_path}
    spec = load_tree(Experiment, tree_of_values(values, "the dict")).spec
    assert spec.dataset.augmentation.scales == (64, 96)
    assert spec.dataset.augmentation.test_random_resize == 64
    assert spec.results_dir == str(tmp_path)
    assert values["dataset"]["augmentation"] is block
    assert block["test_random_resize"] == "${dataset.batch_size}"
    circle: dict[str, object] = {}
    circle["train"] = circle
    with pytest.raises(SpecError, match="nests deeper than 50 levels"):
        tree_of_values(circle, "the dict")


def test_a_training_takes_a_function_of_the_caller(folder: Path, tmp_path: Path) -> None:
    """It changes every image that is read, which the record says by its name."""
    seen: list[int] = []

    def darken(image, boxes_xyxy, labels, rng):  # type: ignore[no-untyped-def]
        seen.append(len(labels))
        return image // 2, boxes_xyxy, labels

    train = {"num_epochs": 1, "is_dry_run": True}
    block = {"workers": 0}
    ddetr.train(
        folder / "spec.yaml",
        transform=darken,
        results_dir=tmp_path,
        train=train,
        dataset=block,
        quiet=True,
    )
    assert seen
