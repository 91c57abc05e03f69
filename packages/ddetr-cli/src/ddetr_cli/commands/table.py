"""The table of `ddetr`'s commands: name, help, module and arguments of each.

The module of a command is loaded when the command is called. It holds a SUBTASK, or a `main` that
takes the arguments and a console, and gives the exit status.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from keyword import iskeyword
from types import ModuleType
from typing import Annotated, Any

import typer

from ddetr_cli.commands.arguments import (
    CheckArguments,
    CompareArguments,
    DemoArguments,
    ExportArguments,
    FileArguments,
    ImportArguments,
    InitArguments,
    KeysArguments,
    NoArguments,
    ReplayArguments,
    ServeArguments,
    SpecArguments,
    SummaryArguments,
    TemplateArguments,
    TrainArguments,
)
from ddetr_cli.tao import CommandLineError
from ddetr_cli.versions import SIBLINGS, find_misfits, sentence_of


@dataclass(frozen=True)
class Command:
    """One command."""

    name: str
    help: str
    arguments: type[Any]  # a dataclass whose fields are Annotated as typer wants them
    hidden: bool = False  # one that another's option stands for

    @property
    def module(self) -> str:
        """Its module in ddetr_cli.commands: named like it, with `_` behind a word of Python's."""
        return f"{self.name}_" if iskeyword(self.name) else self.name

    def check_versions(self) -> None:
        """Refuse packages of ours that do not fit together; the doctor tells them by itself.

        Raises:
            CommandLineError: versions that one of them does not take.
        """
        mixed = [] if self.name == "doctor" else find_misfits(SIBLINGS)
        if mixed:
            raise CommandLineError(sentence_of(mixed))

    def as_function(self) -> Callable[..., None]:
        """Give a function with the arguments for parameters, as typer reads one.

        It loads the command's module and ends with the exit status.
        """

        def call(**given: Any) -> None:
            self.check_versions()
            module = importlib.import_module(f"ddetr_cli.commands.{self.module}")
            raise typer.Exit(_run(module, self.arguments(**given)))

        call.__signature__ = _signature(self.arguments)  # type: ignore[attr-defined]
        return call


def _signature(arguments: type[Any]) -> inspect.Signature:
    """What typer reads; another package's field has help, min and max in its metadata."""
    told = {field.name: field.metadata for field in fields(arguments) if field.metadata}
    signature = inspect.signature(arguments, eval_str=True)
    parameters = [
        each.replace(annotation=Annotated[each.annotation, typer.Option(**told[name])])
        if name in told
        else each
        for name, each in signature.parameters.items()
    ]
    return signature.replace(parameters=parameters)


def _run(module: ModuleType, arguments: Any) -> int:
    from ddetr_cli.running import run_command, run_subtask

    if hasattr(module, "SUBTASK"):
        subtask = module.SUBTASK
        if arguments.deploy and hasattr(module, "DEPLOYED"):
            subtask = module.DEPLOYED
        if getattr(arguments, "allow_code", None) is not None:
            subtask = module.with_code(arguments.allow_code)
        return run_subtask(subtask, arguments.spec, arguments.overrides or ())
    return run_command(partial(module.main, arguments))


COMMANDS: Sequence[Command] = (
    Command(
        "init",
        "Look at a folder of labelled images, say what is there, and write a spec that trains.",
        InitArguments,
    ),
    Command(
        "convert",
        "Turn KITTI, YOLO or VOC labels into sharded COCO JSON, or back; the spec has flat keys.",
        SpecArguments,
    ),
    Command(
        "train",
        "Train on COCO data; continues by itself from dd_model_latest.pth in the results folder.",
        TrainArguments,
    ),
    Command(
        "evaluate",
        "Score a checkpoint or an ONNX file: the twelve COCO figures, and AP of each class.",
        SpecArguments,
    ),
    Command(
        "compare",
        "Compare two runs: scores, whether their difference may be chance, keys that differ.",
        CompareArguments,
    ),
    Command(
        "inference", "Detect in images: KITTI label files and annotated images.", SpecArguments
    ),
    Command(
        "export",
        "Write a checkpoint as ONNX and compare both before the file gets its name.",
        ExportArguments,
    ),
    Command(
        "gen_trt_engine",
        "Build a TensorRT engine of an exported file, on a machine with TensorRT.",
        SpecArguments,
    ),
    Command(
        "serve", "Answer detections over HTTP, with a page to drop an image on.", ServeArguments
    ),
    Command(
        "check",
        "Look for every fault in labelled data; exit status 1 for warnings, 2 for errors.",
        CheckArguments,
    ),
    Command(
        "summary",
        "Show the size of the spec's model: parameters, operations, memory.",
        SummaryArguments,
    ),
    Command(
        "migrate",
        "Tell for each key of an existing spec: kept, renamed, without effect or unknown.",
        FileArguments,
    ),
    Command(
        "import",
        "Read weights of any Deformable DETR, and write them as ours or as another program's.",
        ImportArguments,
    ),
    Command(
        "doctor", "Show versions, GPUs and back-ends, and test the attention kernels.", NoArguments
    ),
    Command(
        "spec",
        "Write a commented spec to start from, with every key, or its JSON Schema.",
        TemplateArguments,
    ),
    Command("keys", "Show the keys of a subtask: its --help-keys.", KeysArguments, hidden=True),
    Command(
        "plan",
        "Show what a training will take: steps, memory, disk; exit status 2 if it cannot fit.",
        SpecArguments,
    ),
    Command(
        "replay",
        "Repeat in fp32 on the CPU the step at which a training met NaN; 1 if it is still bad.",
        ReplayArguments,
    ),
    Command(
        "demo",
        "Show all of it: draw images, train, score, annotate, export, score the ONNX file.",
        DemoArguments,
    ),
)
