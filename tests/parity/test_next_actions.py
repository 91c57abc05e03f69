"""Every error ends with what to do: faulty command lines, each refused by a sentence that says it.

Those that are found late, when data or models were read, are in test_refused_commands.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from ddetr_cli.app import main

SPEC = ("-e", "s.yaml")
TRAIN, EVALUATE, INFERENCE = (("train", *SPEC), ("evaluate", *SPEC), ("inference", *SPEC))
EXPORT, ENGINE, CONVERT = (("export", *SPEC), ("gen_trt_engine", *SPEC), ("convert", *SPEC))


def source(json_file: str, image_dir: str = "images") -> str:
    return f"dataset.train_data_sources={{image_dir: {image_dir}, json_file: {json_file}}}"


FAULTY: list[tuple[str, ...]] = [
    # the command line
    ("trian",),
    ("train",),
    ("train", "-e"),
    ("train", "--nope", *SPEC),
    ("train", "-k"),
    ("train", "-k", "@none", *SPEC),
    ("train", "--log_file", "a"),
    ("quantize",),
    ("list",),
    ("summary", *SPEC, "--height", "3"),
    ("demo", "--epochs", "0"),
    ("export",),
    ("export", "--to-standard"),
    ("train", "--help-keys", "num_epoks"),
    ("train", "--help-keys", "qqqqq"),
    ("doctor", "--help-keys"),
    # the spec as a file
    ("train", "-e", "none.yaml"),
    ("train", "-e", "images"),
    ("train", "-e", "images/a.jpg"),
    ("train", "-e", "open.yaml"),
    ("train", "-e", "list.yaml"),
    ("train", "-e", "twice.yaml"),
    ("migrate", "-e", "none.yaml"),
    # keys and values
    TRAIN,
    (*TRAIN, "train.num_epoch=3"),
    (*TRAIN, "train.a.b.c=3"),
    (*TRAIN, "qqqqq=3"),
    (*TRAIN, "train.num_epochs=many"),
    (*TRAIN, "train.num_epochs=0"),
    (*TRAIN, "train.precision=fp8"),
    (*TRAIN, "train.num_epochs"),
    (*TRAIN, "=3"),
    (*TRAIN, "train.num_epochs=[1"),
    (*TRAIN, "train.optim.lr_steps=[3,2]"),
    (*TRAIN, "results_dir=${nowhere}"),
    (*TRAIN, "dataset.augmentation.input_std=[0]"),
    (*TRAIN, "dataset.augmentation.fixed_random_crop=33"),
    (*TRAIN, "model.hidden_dim=33"),
    (*TRAIN, "model.num_feature_levels=3"),
    (*TRAIN, "model.backbone=resnet_51"),
    # data that are not there, or are something else
    (*TRAIN, source("none.json")),
    (*TRAIN, source("whole.json", "nowhere")),
    (*TRAIN, source("empty.json")),
    (*TRAIN, source("cut.json")),
    (*TRAIN, source("folder")),
    ("plan", *SPEC),
    ("check",),
    ("check", "--images", "images"),
    ("check", *SPEC),
    ("check", *SPEC, "--json", "no/where.json"),
    CONVERT,
    (*CONVERT, "input_source=none.txt"),
    (*CONVERT, "input_source=folder"),
    (*CONVERT, "input_source=images"),
    (*CONVERT, "input_source=images", "format=yolo_to_coco"),
    (*CONVERT, "input_source=images", "label_dir_name=labels"),
    (*CONVERT, "input_source=images", "format=coco"),
    (*CONVERT, "input_source=images", "mapping_path=cut.json"),
    # models
    EVALUATE,
    (*EVALUATE, "evaluate.checkpoint=none.pth"),
    (*EVALUATE, "evaluate.checkpoint=s.yaml"),
    INFERENCE,
    EXPORT,
    (*EXPORT, "export.checkpoint=s.yaml", "export.onnx_file=s.yaml"),
    ENGINE,
    (*ENGINE, "gen_trt_engine.onnx_file=none.onnx"),
    ("serve", "none.onnx"),
    # specs that are written
    ("init", "nowhere"),
    ("init", "folder"),
    ("init", "images"),
    ("init", "images", "-o", "s.yaml"),
    ("spec", "doctor"),
    ("spec", "-o", "s.yaml"),
]


@pytest.fixture(scope="module")
def faulty_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A current folder with the files that the table names."""
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "images").mkdir()
    (folder / "folder").mkdir()
    Image.new("RGB", (64, 48)).save(folder / "images" / "a.jpg")
    whole = {"images": [], "annotations": [], "categories": []}
    texts = {
        "s.yaml": "results_dir: results\n",
        "open.yaml": "train: [\n",
        "list.yaml": "- a\n",
        "twice.yaml": "train: {seed: 1, seed: 2}\n",
        "empty.json": "",
        "cut.json": '{"images": [',
        "whole.json": json.dumps(whole),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.mark.parametrize("words", FAULTY, ids=" ".join)
def test_a_refusal_says_what_to_do(
    words: tuple[str, ...],
    faulty_folder: Path,
    says_what_to_do: Callable[[str], bool],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit status 2, and the last line of standard error has the next step."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    *_, sentence = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 2
    assert says_what_to_do(sentence), sentence
