"""One driver of detectors: a run says, writes and refuses the same whatever runs the model."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import pytest

from ddetr_cli.app import main
from ddetr_data import Detections

MOST_FRAMES = 11
SCORE_TOLERANCE = 1e-3  # of sums in another order
SPEC = """
results_dir: results
dataset:
  test_data_sources: {image_dir: data/images/val, json_file: data/annotations/instances_val.json}
  infer_data_sources: {image_dir: data/images/val}
  augmentation: {input_mean: [0.1]}
  batch_size: 2
evaluate: {batch_size: 2}
inference: {batch_size: 2, conf_threshold: 0.0, coco_json: true, csv: true}
"""
# What must differ: the file's name and what runs it.
RUNS_ON = re.compile(r"model\.[a-z.]+ runs on [^;]*")


class Run(NamedTuple):
    """What is left of a run."""

    status: int
    lines: list[tuple[str, str]]  # of status.json: status and message
    files: set[str]
    errors: str


@pytest.fixture
def run(project: Path, model_key: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Run a subtask with one of the doors, in this process."""

    def started(task: str, door: str, *overrides: str) -> Run:
        (project / "spec.yaml").write_text(SPEC)
        folder = project / f"{task}-{door}"
        runtime, _, file = door.rpartition(":")
        key = "trt_engine" if file.endswith(".engine") else "checkpoint"
        options = [f"{task}.{key}={file}", f"{task}.results_dir={folder}"]
        options += [f"{task}.runtime={runtime}"] if runtime else []
        with pytest.raises(SystemExit) as ended:
            main([task, "-e", "spec.yaml", f"encryption_key={model_key}", *options, *overrides])
        lines = []
        if folder.is_dir():  # a run that is refused makes none
            lines = [json.loads(line) for line in (folder / "status.json").read_text().splitlines()]
        said = [(line["status"], told(line["message"], folder)) for line in lines]
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        return Run(
            status=int(ended.value.code or 0),
            lines=said,
            files=files - {"run.log"},  # PyTorch alone has something to log
            errors=told(capsys.readouterr().err, folder),
        )

    return started


def told(text: str, folder: Path) -> str:
    """Leave out what must differ."""
    return RUNS_ON.sub("MODEL runs on DEVICE", text).replace(str(folder), "FOLDER")


@pytest.mark.parametrize("task", ["evaluate", "inference"])
def test_every_detector_tells_and_writes_the_same(
    task: str, run: Callable[..., Run], doors: tuple[str, ...], project: Path
) -> None:
    """Status lines with their notices, files, exit status, standard error, and the scores."""
    # fault 45
    expected, *others = (run(task, door) for door in doors)
    assert expected.status == 0
    messages = [message for _, message in expected.lines]
    assert messages[1] == (
        "MODEL runs on DEVICE; images are stretched to 64 x 96 pixels (height x width)"
    )
    assert "not as dataset.augmentation says" in messages[2]
    assert [status for status, _ in expected.lines].count("RUNNING") == len(messages) - 2
    for other in others:
        assert other == expected
    if task == "evaluate":
        scores = [scores_of(project / f"evaluate-{door}", door) for door in doors]
        for other in scores[1:]:
            assert other == pytest.approx(scores[0], abs=SCORE_TOLERANCE, nan_ok=True)


def scores_of(folder: Path, door: str) -> dict[str, float]:
    """Read the twelve figures of the run of a door."""
    results = json.loads((folder / "results.json").read_text())
    assert results["checkpoint"] == door.rpartition(":")[2]
    return {name: float("nan" if v is None else v) for name, v in results["overall"].items()}


def test_every_detector_refuses_other_class_names(
    run: Callable[..., Run], doors: tuple[str, ...], project: Path
) -> None:
    """By the same sentence, before anything is written; matched by name they are left out."""
    # fault 21
    labels = project / "data/annotations/instances_val.json"
    content = json.loads(labels.read_text())
    content["categories"][0]["name"] = "ring"
    labels.write_text(json.dumps(content))
    sentence = "class names differ: id 1 is 'circle' in the model and 'ring' in the data"
    for door in doors:
        found = run("evaluate", door)
        assert (found.status, found.files) == (2, set())
        assert sentence in found.errors.splitlines()[-1]
        assert run("evaluate", door, "dataset.match_classes=name").status == 0


@pytest.mark.parametrize(
    ("task", "overrides", "sentence"),
    [
        ("inference", ["inference.color_map={circle: nope}"], "class 'circle' must be a colour"),
        ("inference", ["inference.conf_threshold={cow: 0.4}"], "names the class 'cow', which the"),
        ("evaluate", ["dataset.eval_class_ids=[9]"], "[9] are not"),
    ],
)
def test_every_detector_refuses_the_same(
    task: str, overrides: list[str], sentence: str, run: Callable[..., Run], doors: tuple[str, ...]
) -> None:
    """Exit status 2 and one sentence at the end, before anything is written."""
    expected, *others = (run(task, door, *overrides) for door in doors)
    assert expected.status == 2
    assert sentence in expected.errors.splitlines()[-1]
    assert (expected.lines, expected.files) == ([], set())
    assert all(other == expected for other in others)


def test_both_judges_give_the_same_figures(run: Callable[..., Run], project: Path) -> None:
    """Byte for byte, in results.json and in the report but for its command; auto is one of both."""
    folder = project / "evaluate-model.onnx"
    written = []
    for judge in ("auto", "pycocotools", "faster"):
        assert run("evaluate", "model.onnx", f"evaluate.judge={judge}").status == 0
        files = [(folder / name).read_bytes() for name in ("results.json", "report.html")]
        written.append([each.partition(b"<h2>Commands</h2>")[0] for each in files])
    assert written[1:] == written[:-1]


def test_a_judge_that_is_missing_is_asked_for(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2 and one sentence that names the extra, before anything is written."""
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    (project / "spec.yaml").write_text(SPEC)
    keys = ["evaluate.checkpoint=model.onnx", "evaluate.judge=faster"]
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "-e", "spec.yaml", *keys])
    assert ended.value.code == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "faster-coco-eval is not installed: pip install 'ddetr-data[fast-scoring]'" in sentence
    assert not list(project.glob("results/evaluate/*.json"))


def test_few_calls_lie_between_the_command_and_the_comparison(
    run: Callable[..., Run], doors: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads the code from `ddetr` to conf_threshold passes eleven functions, for every file."""
    depths: list[int] = []
    keep = Detections.above

    def above(found: Detections, threshold: float) -> Detections:
        caller = sys._getframe(1)
        if caller.f_globals["__name__"].startswith("ddetr_data.detection"):  # no report's
            depths.append(1 + sum(1 for _ in our_frames(caller)))
        return keep(found, threshold)

    monkeypatch.setattr(Detections, "above", above)
    for task in ("evaluate", "inference"):
        of_task = set()
        for door in doors:
            run(task, door)
            of_task |= set(depths)
            depths.clear()
        assert len(of_task) == 1
        assert of_task.pop() <= MOST_FRAMES


def our_frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames of our code down to the command's main."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("ddetr_"):
            yield frame
        frame = None if frame.f_code is main.__code__ else frame.f_back


def test_every_detector_keeps_as_many_as_are_scored(
    run: Callable[..., Run], doors: tuple[str, ...], project: Path
) -> None:
    """More than COCO's 100 raise the model's num_select, up to all pairs of query and class."""
    # fault 23
    for door in doors:
        assert run("evaluate", door, "evaluate.max_detections=200").status == 0
        folder = project / f"evaluate-{door}"
        figures = json.loads((folder / "results.json").read_text())["overall"]
        assert [name for name in figures if name.startswith("AR")][:3] == ["AR1", "AR10", "AR200"]
        found = json.loads((folder / "detections.json").read_text())
        assert len(found) == 3 * 20 * 2  # images, queries and classes


@pytest.mark.parametrize("task", ["evaluate", "inference"])
@pytest.mark.parametrize("option", ["precision=bf16", "compile=true"])
def test_an_exported_file_has_its_own_precision(
    task: str, option: str, run: Callable[..., Run], doors: tuple[str, ...]
) -> None:
    """What is for checkpoints is refused for the others, and not passed over."""
    name = option.partition("=")[0]
    for door in doors:
        if door.startswith("model.pth") or (name == "precision" and ":" in door):
            continue
        found = run(task, door, f"{task}.{option}")
        assert (found.status, found.files) == (2, set())
        assert f"{task}.{name} is for checkpoints" in found.errors


@pytest.mark.parametrize("task", ["evaluate", "inference"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("door", ["model.pth", "model.pth.enc", "model.engine"])
def test_a_runtime_is_for_onnx_files(
    task: str, runtime: str, door: str, run: Callable[..., Run]
) -> None:
    """What has one runtime refuses the choice of another, and does not pass over it."""
    found = run(task, door, f"{task}.runtime={runtime}")
    assert (found.status, found.files) == (2, set())
    owner = "TensorRT" if door.endswith(".engine") else "PyTorch"
    assert f"{task}.runtime is for ONNX files: {owner} runs {door}" in found.errors


def test_a_runtime_that_is_missing_is_asked_for(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 2 and one sentence that names the extra, before anything is written."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    found = run("evaluate", "model.onnx", "evaluate.runtime=openvino")
    assert (found.status, found.files) == (2, set())
    (sentence,) = found.errors.splitlines()
    assert "evaluate.runtime: OpenVINO is not installed" in sentence
    assert "pip install 'ddetr-cli[openvino]'" in sentence


def test_a_model_is_scored_in_sixteen_bits(
    run: Callable[..., Run], doors: tuple[str, ...], project: Path
) -> None:
    """Nearly as in float32; a processor without instructions for it is told of."""
    for door in doors:
        if door == "model.pth" or door.endswith(":model.onnx"):
            figures, runs = [], []
            for precision in ("fp32", "bf16"):
                runs.append(run("evaluate", door, f"evaluate.precision={precision}"))
                found = json.loads((project / f"evaluate-{door}" / "detections.json").read_text())
                figures.append(sorted(each["score"] for each in found))
            assert figures[1] == pytest.approx(figures[0], abs=0.02)
            assert figures[1] != figures[0] or "on this processor" in runs[1].errors


@pytest.mark.parametrize("task", ["evaluate", "inference"])
def test_threads_beside_a_detector_change_no_byte(
    task: str, run: Callable[..., Run], doors: tuple[str, ...], project: Path
) -> None:
    """Images are read and prepared ahead of it, and their results written behind it."""
    for door in doors:
        folder, written = project / f"{task}-{door}", []
        for workers in (0, 4):
            found = run(task, door, f"dataset.workers={workers}")
            assert found.status == 0
            results = found.files - {"status.json", "experiment.yaml", "report.html"}
            written.append({name: (folder / name).read_bytes() for name in results})
        assert {Path(name).suffix for name in written[0]} >= {".json"}
        assert written[0] == written[1]
