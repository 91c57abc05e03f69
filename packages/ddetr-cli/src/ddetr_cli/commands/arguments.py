"""The options and arguments of every command of `ddetr`, declared here and nowhere else.

A class holds the arguments of a command, each with what its help says: by typer's annotation, or as
metadata of a field that another package declares. Nothing else is imported, so that `ddetr --help`
is there at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ddetr_cli.completion import complete_keys
from ddetr_export.serving import ServeConfig

_SPEC = typer.Option(
    "-e",
    "--experiment_spec",
    "--experiment_spec_file",
    metavar="SPEC.YAML",
    help="The spec file: YAML blocks of keys.",
)
_KEYS = typer.Argument(
    metavar="[KEY=VALUE]...",
    help="Keys to set over the file: train.num_epochs=3",
    autocompletion=complete_keys,
)
_PIXELS = typer.Option(min=32, help="Of the image, in pixels.")

Overrides = Annotated[list[str] | None, _KEYS]


class ImportLayout(str, Enum):
    """What `ddetr import` writes."""

    ddetr = "ddetr"
    huggingface = "huggingface"
    original = "original"


@dataclass(frozen=True)
class NoArguments:
    """Nothing to choose."""


@dataclass(frozen=True)
class FileArguments:
    """A spec as it is written."""

    spec: Annotated[Path, _SPEC]


@dataclass(frozen=True)
class KeysArguments:
    """A subtask, and what its keys must have in their names or meanings."""

    subtask: Annotated[str, typer.Argument(metavar="SUBTASK")]
    words: Annotated[list[str] | None, typer.Argument(metavar="[WORD]...")] = None


@dataclass(frozen=True)
class TemplateArguments:
    """Which template, or the schema instead, and where to write it."""

    subtask: Annotated[
        str | None,
        typer.Argument(metavar="[SUBTASK]", help="Only what it reads; without, all of a spec."),
    ] = None
    schema: Annotated[
        bool, typer.Option("--schema", help="A JSON Schema, with which editors complete keys.")
    ] = False
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write it there, and not to the screen."
        ),
    ] = None
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False


@dataclass(frozen=True)
class InitArguments:
    """A folder to look at, and where the spec goes."""

    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Of labelled images.")]
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="SPEC.YAML", help="The spec to write.")
    ] = Path("spec.yaml")
    convert: Annotated[
        bool,
        typer.Option(
            "--convert",
            help="Also write the COCO JSON that training needs, of YOLO, VOC or KITTI labels and "
            "of a validation split that is missing, to SPEC_labels/ beside the spec.",
        ),
    ] = False
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            metavar="PATH",
            help="Start from this detector: a .pth, or a file or folder that `ddetr import` reads. "
            "Without, a small network learns from random weights.",
        ),
    ] = None
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a spec, and labels, that are there.")
    ] = False


@dataclass(frozen=True)
class SpecArguments(FileArguments):
    """A spec, and keys to set over it."""

    overrides: Overrides = None
    deploy: Annotated[
        bool, typer.Option("--deploy", hidden=True, help="Results go to trt_<subtask>/.")
    ] = False


@dataclass(frozen=True)
class TrainArguments(SpecArguments):
    """A spec, and code of one's own that no file can name."""

    allow_code: Annotated[
        str | None,
        typer.Option(
            "--allow-code",
            metavar="MODULE:FUNCTION",
            help="Import this module, also from the current folder, and let its function change "
            "each training image and its boxes.",
        ),
    ] = None


@dataclass(frozen=True)
class ExportArguments:
    """A spec, or the files of a plugin model."""

    spec: Annotated[Path | None, _SPEC] = None
    overrides: Overrides = None
    to_standard: Annotated[
        bool,
        typer.Option(
            "--to-standard",
            help="Rewrite a plugin file with standard operators: export.onnx_file of the spec, or "
            "without -e the files PLUGIN.onnx [STANDARD.onnx].",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class ServeArguments(ServeConfig):
    """A model and what runs it; where to answer, and the limits, are the server's own options."""

    model: Annotated[Path, typer.Argument(metavar="MODEL.ONNX", help="Or .onnx.enc, .engine.")]
    runtime: Annotated[
        str, typer.Option(help="Of an ONNX file: onnxruntime, which auto is too, or openvino.")
    ] = "auto"
    precision: Annotated[str, typer.Option(help="Of OpenVINO: fp32, bf16 or fp16.")] = "fp32"
    allow_code: Annotated[str | None, typer.Option("--allow-code", hidden=True)] = None


@dataclass(frozen=True)
class CheckArguments:
    """A spec, or a labelled set without one."""

    spec: Annotated[Path | None, _SPEC] = None
    overrides: Overrides = None
    images: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Instead of a spec: the folder of images, or its URL."),
    ] = None
    annotations: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Their COCO JSON (file, folder, glob) or KITTI folder."),
    ] = None
    mapping: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Known KITTI classes; others are reported.")
    ] = None
    num_classes: Annotated[int | None, typer.Option(min=1)] = None
    num_queries: Annotated[int | None, typer.Option(min=1)] = None
    json_file: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Findings as one JSON text; - is shown."),
    ] = None
    with_model: Annotated[
        Path | None,
        typer.Option(
            "--with-model",
            metavar="FILE",
            help="Also list labels that this checkpoint, ONNX file or engine doubts.",
        ),
    ] = None
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For that list; otherwise <results_dir>/check."),
    ] = None


@dataclass(frozen=True)
class SummaryArguments(SpecArguments):
    """A spec and the size of an image."""

    height: Annotated[int, _PIXELS] = 800
    width: Annotated[int, _PIXELS] = 1066


@dataclass(frozen=True)
class ImportArguments:
    """What to read, what to write, and what the source does not tell."""

    source: Annotated[Path, typer.Argument(help="A .pth or .safetensors file, or a folder.")]
    target: Annotated[Path, typer.Option("-o", "--output", help="The file or folder to write.")]
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[model.KEY=VALUE]...", help="What the source does not tell: model.nheads=4"
        ),
    ] = None
    layout: Annotated[
        ImportLayout, typer.Option("--to", help="Ours, or the layout of another program.")
    ] = ImportLayout.ddetr
    num_classes: Annotated[
        int | None, typer.Option(min=1, help="Start the class heads anew for so many classes.")
    ] = None
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Leave missing tensors random.")
    ] = False
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Leave out tensors of a changed model.")
    ] = False


@dataclass(frozen=True)
class CompareArguments:
    """Two runs, and how their difference is judged."""

    first: Annotated[Path, typer.Argument(metavar="A", help="Results of train or evaluate.")]
    second: Annotated[Path, typer.Argument(metavar="B", help="Likewise, to compare with A.")]
    output: Annotated[Path, typer.Option("-o", "--output", help="The page to write.")] = Path(
        "comparison.html"
    )
    resamples: Annotated[int, typer.Option(min=1, help="Of the images, for the interval.")] = 1000
    seed: Annotated[int, typer.Option(min=0, help="Of the resamples.")] = 0


@dataclass(frozen=True)
class ReplayArguments:
    """What a run with NaN has left."""

    evidence: Annotated[Path, typer.Argument(help="The nan_epoch_*.pt that a run has left.")]


@dataclass(frozen=True)
class DemoArguments:
    """What a person may choose; None leaves the value of demo_spec.yaml or of the command."""

    folder: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("demo")
    seed: Annotated[int, typer.Option(min=0, help="Of the images and of the training.")] = 0
    epochs: Annotated[int | None, typer.Option(min=1, help="Of training.")] = None
    train_images: Annotated[int | None, typer.Option(min=1)] = None
    test_images: Annotated[int | None, typer.Option(min=1)] = None
