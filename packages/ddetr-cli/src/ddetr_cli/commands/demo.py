"""`ddetr demo`: from nothing to a scored ONNX file, by the commands that a user would type."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from ddetr_cli.commands import evaluate, export, inference, train
from ddetr_cli.commands.arguments import DemoArguments
from ddetr_cli.running import EXIT_FAILURE, EXIT_SUCCESS, run_subtask
from ddetr_cli.spec import local_path
from ddetr_cli.terminal import RunConsole, current_output, figure
from ddetr_cli.typed_command import command_typed
from ddetr_data.files import write_whole

NUM_IMAGES = {"train": 1600, "val": 60, "test": 150}
IMAGE_SIZE_HW = (128, 128)
NUM_CLASSES = 3
OBJECTS = (2, 5)  # fewest and most in an image
OBJECT_SIZE = (0.16, 0.4)  # of the image's side
AP_TOLERANCE = 0.005
# A torch that cannot be imported proves that the runtime does without.
_WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from ddetr_cli.app import main; main()"


def main(arguments: DemoArguments, console: RunConsole) -> int:
    """Run every step and give the exit status; a second run continues an interrupted one.

    The last step fails when PyTorch's and ONNX Runtime's AP differ by more than AP_TOLERANCE.
    """
    start = time.monotonic()
    spec_file = _prepare(arguments, console)
    status = _run_steps(spec_file, arguments, console)
    if status != EXIT_SUCCESS:
        return status
    return _compare(spec_file.parent, time.monotonic() - start, console)


def _prepare(arguments: DemoArguments, console: RunConsole) -> Path:
    """Draw the data and write the spec, with whole paths so that it works from anywhere."""
    counts = dict(NUM_IMAGES)
    if arguments.train_images is not None:
        counts["train"] = arguments.train_images
    if arguments.test_images is not None:
        counts["val"] = counts["test"] = arguments.test_images
    folder = Path(local_path(arguments.folder, "--folder")).resolve()
    console.tell(f"drawing {sum(counts.values())} synthetic images in {folder / 'data'}")
    draw_dataset(folder, counts, seed=arguments.seed)
    return write_spec(folder)


def draw_dataset(folder: Path, num_images: Mapping[str, int], *, seed: int) -> None:
    """Draw the demo's images and labels in folder/data, so many of each subset."""
    from ddetr_data.synthetic import make_dataset

    make_dataset(
        folder / "data",
        num_images=num_images,
        image_size_hw=IMAGE_SIZE_HW,
        num_classes=NUM_CLASSES,
        objects=OBJECTS,
        object_size=OBJECT_SIZE,
        seed=seed,
    )


def write_spec(folder: Path) -> Path:
    """Write the demo's spec as folder/spec.yaml, with whole paths."""
    template = files("ddetr_cli").joinpath("demo_spec.yaml").read_text("utf-8")
    quoted = json.dumps(str(folder), ensure_ascii=False)[1:-1]
    spec_file = folder / "spec.yaml"
    write_whole(spec_file, template.replace("DEMO_FOLDER", quoted))
    return spec_file


def _run_steps(spec_file: Path, arguments: DemoArguments, console: RunConsole) -> int:
    training = [f"train.seed={arguments.seed}"]
    if arguments.epochs is not None:
        training.append(f"train.num_epochs={arguments.epochs}")
    for subtask in (train.SUBTASK, evaluate.SUBTASK, inference.SUBTASK, export.EXPORT):
        overrides = training if subtask is train.SUBTASK else []
        _show_command(subtask.name, spec_file, overrides, console)
        with command_typed([subtask.name, "-e", str(spec_file), *overrides]):
            status = run_subtask(subtask, spec_file, overrides)
        if status != EXIT_SUCCESS:
            return status
    results = spec_file.parent / "results"
    onnx = [
        f"evaluate.checkpoint={results / 'export' / 'model.onnx'}",
        f"evaluate.results_dir={results / 'evaluate_onnx'}",
    ]
    _show_command("evaluate", spec_file, onnx, console)
    output = current_output()
    quiet = ["--quiet"] if output.quiet else []
    command = [
        sys.executable,
        "-c",
        _WITHOUT_TORCH,
        "evaluate",
        "-e",
        str(spec_file),
        *onnx,
        *quiet,
    ]
    # Its words are no JSON lines: they go where a person looks.
    out = sys.stderr.fileno() if output.lines is not None else None
    return subprocess.run(command, check=False, stdout=out).returncode


def _show_command(
    task: str, spec_file: Path, overrides: Sequence[str], console: RunConsole
) -> None:
    console.tell("")
    console.tell(f"$ {' '.join(['ddetr', task, '-e', str(spec_file), *overrides])}")


def _compare(folder: Path, seconds: float, console: RunConsole) -> int:
    """Show where everything is, and fail when the two runtimes' scores are apart."""
    results = folder / "results"
    pytorch = _overall(results / "evaluate" / "results.json")
    onnx = _overall(results / "evaluate_onnx" / "results.json")
    rows = [
        ("images and labels", folder / "data", None),
        ("spec", folder / "spec.yaml", None),
        ("checkpoint", results / "train" / "dd_model_best.pth", None),
        ("scores, PyTorch", results / "evaluate" / "results.json", pytorch),
        ("annotated images", results / "inference" / "images_annotated", None),
        ("KITTI labels", results / "inference" / "labels", None),
        ("ONNX file", results / "export" / "model.onnx", None),
        ("scores, ONNX Runtime", results / "evaluate_onnx" / "results.json", onnx),
    ]
    console.table(
        f"ddetr demo, {seconds:.0f} s",
        ["what", "where", "AP", "AP50"],
        [
            (what, str(where), *(figure(scores[key]) if scores else "" for key in ("AP", "AP50")))
            for what, where, scores in rows
        ],
    )
    difference = abs(pytorch["AP"] - onnx["AP"])
    if not difference <= AP_TOLERANCE:
        console.fail(f"AP of PyTorch and of ONNX Runtime differ by {difference:.4f}")
        return EXIT_FAILURE
    return EXIT_SUCCESS


def _overall(results_file: Path) -> dict[str, float]:
    content = json.loads(results_file.read_text("utf-8"))
    return {name: -1.0 if value is None else value for name, value in content["overall"].items()}
