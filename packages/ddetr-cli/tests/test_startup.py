"""The command line from outside: quick, quiet, and 2 for whatever is wrong in the input."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ddetr_cli.app import without_product_words

HEAVY = (
    *("torch", "pytorch_lightning", "onnx", "onnxruntime", "scipy", "pycocotools", "matplotlib"),
    *("numpy", "PIL"),
)
# CPU seconds, since other programs may hold up the wall clock.
HELP_SECONDS = 0.5
WRONG_SPEC_SECONDS = 1.0
SUBTASKS = ["train", "evaluate", "inference", "export", "gen_trt_engine", "convert"]


def ddetr(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command and add to standard error which heavy libraries it loaded."""
    code = (
        "import atexit, sys; from ddetr_cli.app import main; "
        f"atexit.register(lambda: print('loaded', [m for m in {HEAVY} if m in sys.modules], "
        "file=sys.stderr)); main()"
    )
    environment = {**os.environ, "COLUMNS": "200"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


def ddetr_within(
    seconds: float, *arguments: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command, which must stay below this CPU time in the best of five attempts."""
    times = []
    for _ in range(5):
        before = cpu_seconds()
        answer = ddetr(*arguments, cwd=cwd)
        times.append(cpu_seconds() - before)
        if times[-1] < seconds:
            break
    assert min(times) < seconds
    return answer


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    """Half a second at most, every subtask in it."""
    answer = ddetr_within(HELP_SECONDS, "--help")
    assert answer.returncode == 0
    assert all(task in answer.stdout for task in (*SUBTASKS, "demo"))
    assert answer.stderr == "loaded []\n"


@pytest.mark.parametrize("task", SUBTASKS)
def test_a_wrong_spec_is_found_before_anything_heavy_is_loaded(task: str, tmp_path: Path) -> None:
    """A wrong key and a wrong value: one sentence each, exit status 2, within a second."""
    (tmp_path / "spec.yaml").write_text("nun_shards: 3\nresults_dir: []\n")
    answer = ddetr_within(WRONG_SPEC_SECONDS, task, "-e", "spec.yaml", cwd=tmp_path)
    assert answer.returncode == 2
    *faults, loaded = answer.stderr.removeprefix("ddetr: ").splitlines()
    assert loaded == "loaded []"
    assert len(faults) == 2
    assert "unknown key nun_shards (spec.yaml:1)" in answer.stderr
    assert "results_dir must be" in answer.stderr


@pytest.mark.parametrize("task", SUBTASKS)
def test_a_missing_spec_is_one_sentence(task: str, tmp_path: Path) -> None:
    """The name and the folder that it was looked for in."""
    answer = ddetr(task, "-e", "my.yaml", cwd=tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.startswith(
        f"ddetr: spec file my.yaml does not exist (current folder: {tmp_path}"
    )


MISSING_FILES = [
    ("train", [], "dataset.train_data_sources is not set"),
    (
        "train",
        ["dataset.train_data_sources={image_dir: nowhere, json_file: a.json}"],
        "dataset.train_data_sources.image_dir: nowhere does not exist",
    ),
    (
        "train",
        ["dataset.train_data_sources={image_dir: ., json_file: a.json}"],
        "dataset.train_data_sources.json_file: a.json does not exist",
    ),
    ("evaluate", [], "evaluate.checkpoint is not set"),
    ("evaluate", ["evaluate.checkpoint=m.pth"], "evaluate.checkpoint: m.pth does not exist"),
    ("evaluate", ["evaluate.checkpoint=spec.yaml"], "evaluate.checkpoint must end in .pth"),
    ("evaluate", ["evaluate.trt_engine=m.plan"], "evaluate.trt_engine: m.plan does not exist"),
    ("evaluate", ["evaluate.trt_engine=spec.yaml"], "evaluate.trt_engine must end in .engine"),
    ("inference", ["inference.checkpoint=m.onnx"], "inference.checkpoint: m.onnx does not exist"),
    ("export", [], "export.checkpoint is not set"),
    ("export", ["export.checkpoint=m.pth"], "export.checkpoint: m.pth does not exist"),
    ("export", ["export.checkpoint=spec.yaml"], "export.onnx_file is not set"),
    (
        "export",
        ["export.checkpoint=spec.yaml", "export.onnx_file=spec.yaml"],
        "export.onnx_file: spec.yaml exists; give export.overwrite=true",
    ),
    ("convert", [], "input_source is not set"),
    ("convert", ["input_source=s.txt"], "input_source: s.txt does not exist"),
    (
        "export",
        ["export.checkpoint=spec.yaml", "export.onnx_file=a.onnx.enc"],
        "a.onnx.enc ends in .enc, but no encryption_key is set",
    ),
    ("gen_trt_engine", [], "gen_trt_engine.onnx_file is not set"),
    ("gen_trt_engine", ["gen_trt_engine.onnx_file=m.onnx"], "m.onnx does not exist"),
    (
        "gen_trt_engine",
        ["gen_trt_engine.onnx_file=spec.yaml"],
        "gen_trt_engine.trt_engine is not set",
    ),
    (
        "gen_trt_engine",
        [
            "gen_trt_engine.onnx_file=spec.yaml",
            "gen_trt_engine.trt_engine=m.engine",
            "gen_trt_engine.tensorrt.calibration.cal_image_dir=[nowhere]",
        ],
        "gen_trt_engine.tensorrt.calibration.cal_image_dir: nowhere does not exist",
    ),
]


@pytest.mark.parametrize(("task", "overrides", "sentence"), MISSING_FILES)
def test_what_is_missing_is_named_with_its_key(
    task: str, overrides: list[str], sentence: str, tmp_path: Path
) -> None:
    """Exit status 2, one sentence, nothing heavy loaded."""
    (tmp_path / "spec.yaml").write_text("results_dir: results\n")
    answer = ddetr(task, "-e", "spec.yaml", *overrides, cwd=tmp_path)
    assert answer.returncode == 2
    first, last = answer.stderr.splitlines()
    assert sentence in first
    assert last == "loaded []"


NO_JSON = {
    "a page": b"<html>",
    "nothing": b"",
    "cut off": b'{"images": [',
    "an image": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "large and no JSON": b"x" * (9 * 2**20),
    "large and cut off": b'{"images": [' + b" " * (9 * 2**20),
}


@pytest.mark.parametrize("kind", NO_JSON)
@pytest.mark.parametrize("split", ["train", "val"])
def test_labels_that_are_no_json_are_found_before_anything_heavy_is_loaded(
    kind: str, split: str, tmp_path: Path
) -> None:
    """One sentence with the file, exit status 2, within a second."""
    # fault 41
    (tmp_path / "bad.json").write_bytes(NO_JSON[kind])
    (tmp_path / "good.json").write_text('{"images": [], "annotations": [], "categories": []}')
    (tmp_path / "spec.yaml").write_text("results_dir: results\n")
    files = {"train": "good.json", "val": "good.json", split: "bad.json"}
    keys = [
        f"dataset.{name}_data_sources={{image_dir: ., json_file: {file}}}"
        for name, file in files.items()
    ]
    answer = ddetr_within(WRONG_SPEC_SECONDS, "train", "-e", "spec.yaml", *keys, cwd=tmp_path)
    assert answer.returncode == 2
    sentence, loaded = answer.stderr.splitlines()
    assert "bad.json" in sentence
    assert loaded == "loaded []"


@pytest.mark.parametrize("option", ["-e", "--experiment_spec", "--experiment_spec_file"])
def test_a_spec_is_found_by_each_option_and_in_any_order(option: str, tmp_path: Path) -> None:
    """A bare name means the current folder; overrides may stand before the option."""
    (tmp_path / "spec.yaml").write_text("results_dir: results\n")
    arguments = [
        "model",
        "deformable_detr",
        "evaluate",
        "evaluate.checkpoint=a",
        option,
        "spec.yaml",
    ]
    answer = ddetr(*arguments, cwd=tmp_path)
    assert "evaluate.checkpoint: a does not exist" in answer.stderr
    assert f"-> {Path('results') / 'evaluate'}" in answer.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["model", "deformable_detr", "train", "-e", "x"], ["train", "-e", "x"]),
        (["deploy", "deformable_detr", "export"], ["export"]),
        (["deformable_detr", "train"], ["train"]),
        (["train", "model", "deformable_detr"], ["train", "model", "deformable_detr"]),
        ([], []),
    ],
)
def test_the_product_words_are_dropped(arguments: list[str], kept: list[str]) -> None:
    """Only in front of the subtask."""
    assert without_product_words(arguments) == kept


def test_usage_errors_are_exit_status_two() -> None:
    """A missing -e and an unknown subtask."""
    assert ddetr("train").returncode == 2
    answer = ddetr("trian")
    assert answer.returncode == 2
    assert "Did you mean 'train'?" in answer.stderr


def test_the_version_is_shown() -> None:
    """`ddetr --version` names the package's own version."""
    from ddetr_cli import __version__

    assert ddetr("--version").stdout == f"ddetr {__version__}\n"
