"""The command `ddetr`: made of the table of commands, with nothing that takes time to load."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from ddetr_cli.__about__ import __version__
from ddetr_cli.commands.table import COMMANDS
from ddetr_cli.passphrase import star_out_command_line
from ddetr_cli.terminal import (
    ended_in_time,
    hide_image_warnings,
    lasting_output,
    shorten_waits,
    told_interrupts,
)

_PRODUCT_WORDS = ("model", "deploy")
_NETWORK_WORD = "deformable_detr"

app = typer.Typer(
    name="ddetr",
    help="Train, evaluate, run and export Deformable DETR from one spec file.",
    epilog="Scripts for `tao model deformable_detr` run with `ddetr` instead of `tao`.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: rich's Markdown and syntax parts take 0.4 s to load
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for command in COMMANDS:
    app.command(command.name, help=command.help)(command.as_function())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status: 0, 1 fault, 2 bad input, 130 interrupted.

    Args:
        arguments: by default those of the process, which is the command's then.
    """
    star_out_command_line()
    given = list(sys.argv[1:] if arguments is None else arguments)
    shorten_waits()
    hide_image_warnings()
    is_process = arguments is None
    with ended_in_time(with_process=is_process), lasting_output(), told_interrupts():
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
