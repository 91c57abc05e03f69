"""The command `ddetr`: its subtasks, their options, and nothing that takes time to load."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Optional

import typer

from ddetr_cli.__about__ import __version__
from ddetr_cli.terminal import hide_image_warnings, lasting_output, shorten_waits

_PRODUCT_WORDS = ("model", "deploy")
_NETWORK_WORD = "deformable_detr"

app = typer.Typer(
    name="ddetr",
    help="Train, evaluate, run and export Deformable DETR from one spec file.",
    epilog="Scripts for `tao model deformable_detr` run with `ddetr` in place of `tao`.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: rich's Markdown and syntax parts take 0.4 s to load
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

_SPEC_OPTION = typer.Option(
    "-e",
    "--experiment_spec",
    "--experiment_spec_file",
    metavar="SPEC.YAML",
    help="The spec file: YAML blocks of keys.",
)


class ImportLayout(str, Enum):
    """What `ddetr import` writes."""

    ddetr = "ddetr"
    huggingface = "huggingface"
    original = "original"


SpecFile = Annotated[Path, _SPEC_OPTION]
OptionalSpecFile = Annotated[Optional[Path], _SPEC_OPTION]  # noqa: UP045
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads this at run time, also on Python 3.10
    typer.Argument(metavar="[KEY=VALUE]...", help="Keys to set over the file: train.num_epochs=3"),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status: 0, 1 fault, 2 bad input, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    shorten_waits()
    hide_image_warnings()
    with lasting_output():
        app(args=with_json_shown(without_product_words(given)), prog_name="ddetr")


def without_product_words(arguments: list[str]) -> list[str]:
    """Drop `model deformable_detr` or `deploy deformable_detr` in front of a subtask."""
    if arguments[:1] and arguments[0] in _PRODUCT_WORDS:
        arguments = arguments[1:]
    return arguments[1:] if arguments[:1] == [_NETWORK_WORD] else arguments


def with_json_shown(arguments: list[str]) -> list[str]:
    """Give `check --json` without a file the file "-", standard output."""
    if arguments[:1] != ["check"]:
        return arguments
    shown = []
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=True):
        shown.append(argument)
        if argument == "--json" and following.startswith("-") and following != "-":
            shown.append("-")
    return shown


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ddetr {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None: ...


@app.command()
def convert(spec: SpecFile, overrides: Overrides = None) -> None:
    """Turn KITTI folders into sharded COCO JSON; the spec has flat keys."""
    from ddetr_cli.commands.convert import CONVERT
    from ddetr_cli.running import run_subtask

    raise typer.Exit(run_subtask(CONVERT, spec, overrides or ()))


@app.command()
def train(spec: SpecFile, overrides: Overrides = None) -> None:
    """Train on COCO data; continues by itself from dd_model_latest.pth in the results folder."""
    from ddetr_cli.commands.train import TRAIN
    from ddetr_cli.running import run_subtask

    raise typer.Exit(run_subtask(TRAIN, spec, overrides or ()))


@app.command()
def evaluate(spec: SpecFile, overrides: Overrides = None) -> None:
    """Score a checkpoint or an ONNX file: the twelve COCO figures, and AP of each class."""
    from ddetr_cli.commands.evaluate import EVALUATE
    from ddetr_cli.running import run_subtask

    raise typer.Exit(run_subtask(EVALUATE, spec, overrides or ()))


@app.command()
def inference(spec: SpecFile, overrides: Overrides = None) -> None:
    """Detect in images: KITTI label files and annotated pictures."""
    from ddetr_cli.commands.inference import INFERENCE
    from ddetr_cli.running import run_subtask

    raise typer.Exit(run_subtask(INFERENCE, spec, overrides or ()))


@app.command()
def export(
    spec: OptionalSpecFile = None,
    overrides: Overrides = None,
    to_standard: Annotated[
        bool,
        typer.Option(
            "--to-standard",
            help="Rewrite a plugin file with standard operators: export.onnx_file of the spec, or "
            "without -e the files PLUGIN.onnx [STANDARD.onnx].",
        ),
    ] = False,
) -> None:
    """Write a checkpoint as ONNX and compare both before the file gets its name."""
    from ddetr_cli.commands.export import EXPORT, TO_STANDARD, rewrite_as_standard

    if spec is None and to_standard:
        from ddetr_cli.running import answer

        raise typer.Exit(answer(partial(rewrite_as_standard, overrides or ())))
    if spec is None:
        raise typer.BadParameter("the spec file is missing", param_hint="-e")
    from ddetr_cli.running import run_subtask

    subtask = TO_STANDARD if to_standard else EXPORT
    raise typer.Exit(run_subtask(subtask, spec, overrides or ()))


@app.command("gen_trt_engine")
def gen_trt_engine(spec: SpecFile, overrides: Overrides = None) -> None:
    """Build a TensorRT engine of an exported file, on a machine with TensorRT."""
    from ddetr_cli.commands.gen_trt_engine import GEN_TRT_ENGINE
    from ddetr_cli.running import run_subtask

    raise typer.Exit(run_subtask(GEN_TRT_ENGINE, spec, overrides or ()))


@app.command()
def serve(
    model: Annotated[Path, typer.Argument(metavar="MODEL.ONNX", help="Or .onnx.enc, .engine.")],
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    max_upload_mib: Annotated[int, typer.Option(min=1, help="Largest image file.")] = 20,
) -> None:
    """Answer detections over HTTP, with a page to drop an image on."""
    from ddetr_cli.commands.serve import ServeOptions, serve_model
    from ddetr_cli.running import answer

    options = ServeOptions(model, host, port, max_upload_mib)
    raise typer.Exit(answer(partial(serve_model, options)))


@app.command()
def check(
    spec: OptionalSpecFile = None,
    overrides: Overrides = None,
    images: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="DIR", help="In place of a spec: the folder of images, or its URL."),
    ] = None,
    annotations: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="FILE", help="Their COCO JSON (file, folder, glob) or KITTI folder."),
    ] = None,
    mapping: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Known KITTI classes; others are reported."),
    ] = None,
    num_classes: Annotated[Optional[int], typer.Option(min=1)] = None,  # noqa: UP045
    num_queries: Annotated[Optional[int], typer.Option(min=1)] = None,  # noqa: UP045
    json_file: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--json", metavar="[FILE]", help="Findings as JSON, without FILE shown."),
    ] = None,
) -> None:
    """Look for every fault in labelled data; exit status 1 for warnings, 2 for errors."""
    from ddetr_cli.commands.check import LabelledSet, check_data
    from ddetr_cli.running import answer

    labelled_set = LabelledSet(images, annotations or (), mapping, num_classes, num_queries)
    raise typer.Exit(answer(partial(check_data, spec, overrides or (), labelled_set, json_file)))


@app.command()
def summary(
    spec: SpecFile,
    overrides: Overrides = None,
    height: Annotated[int, typer.Option(min=32, help="Of the image, in pixels.")] = 800,
    width: Annotated[int, typer.Option(min=32, help="Of the image, in pixels.")] = 1066,
) -> None:
    """Show the size of the spec's model: parameters, operations, memory."""
    from ddetr_cli.commands.summary import summarize_model
    from ddetr_cli.running import answer

    work = partial(summarize_model, spec, overrides or (), (height, width))
    raise typer.Exit(answer(work))


@app.command()
def migrate(spec: SpecFile) -> None:
    """Tell for each key of an existing spec: kept, renamed, without effect or unknown."""
    from ddetr_cli.commands.migrate import migrate
    from ddetr_cli.running import answer

    raise typer.Exit(answer(partial(migrate, spec)))


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="A .pth or .safetensors file, or a folder.")],
    target: Annotated[Path, typer.Option("-o", "--output", help="The file or folder to write.")],
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="[model.KEY=VALUE]...", help="What the source does not tell: model.nheads=4"
        ),
    ] = None,
    layout: Annotated[
        ImportLayout, typer.Option("--to", help="Ours, or the layout of another program.")
    ] = ImportLayout.ddetr,
    num_classes: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Start the class heads anew for so many classes."),
    ] = None,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Leave missing tensors random.")
    ] = False,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Leave out tensors of a changed model.")
    ] = False,
) -> None:
    """Read weights of any Deformable DETR, and write them as ours or as another program's."""
    from ddetr_cli.commands.import_ import ImportOptions, import_weights
    from ddetr_cli.running import answer

    options = ImportOptions(
        source, target, layout.value, num_classes, allow_partial, allow_unknown, overrides or ()
    )
    raise typer.Exit(answer(partial(import_weights, options)))


@app.command()
def doctor() -> None:
    """Show versions, GPUs and back-ends, and test the attention kernels."""
    from ddetr_cli.commands.doctor import diagnose
    from ddetr_cli.running import answer

    raise typer.Exit(answer(diagnose))


@app.command()
def plan(spec: SpecFile, overrides: Overrides = None) -> None:
    """Show what a training will take: steps, memory, disk; exit status 2 if it cannot fit."""
    from ddetr_cli.commands.plan import plan_run
    from ddetr_cli.running import answer

    raise typer.Exit(answer(partial(plan_run, spec, overrides or ())))


@app.command()
def replay(
    evidence: Annotated[Path, typer.Argument(help="The nan_epoch_*.pt that a run has left.")],
) -> None:
    """Repeat in fp32 on the CPU the step at which a training met NaN; 1 if it is still bad."""
    from ddetr_cli.commands.replay import replay_step
    from ddetr_cli.running import answer

    raise typer.Exit(answer(partial(replay_step, evidence)))


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of the images and of the training.")] = 0,
    epochs: Annotated[Optional[int], typer.Option(min=1, help="Of training.")] = None,  # noqa: UP045
    train_images: Annotated[Optional[int], typer.Option(min=1)] = None,  # noqa: UP045
    test_images: Annotated[Optional[int], typer.Option(min=1)] = None,  # noqa: UP045
) -> None:
    """Show all of it: draw images, train, score, annotate, export, score the ONNX file."""
    from ddetr_cli.commands.demo import DemoOptions, run_demo
    from ddetr_cli.running import answer

    options = DemoOptions(folder, seed, epochs, train_images, test_images)
    raise typer.Exit(answer(partial(run_demo, options)))
