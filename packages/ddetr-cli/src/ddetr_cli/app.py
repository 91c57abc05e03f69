"""The command `ddetr`: made of the table of commands, with nothing that takes time to load."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ddetr_cli.__about__ import __version__
from ddetr_cli.commands.table import COMMANDS
from ddetr_cli.masking import without_pairs
from ddetr_cli.passphrase import (
    LEFT_TO_THE_ENVIRONMENT,
    NOTICE,
    keep_in_environment,
    read_passphrase,
    star_out_command_line,
)
from ddetr_cli.subtask_help import SubtaskCommand, with_keys_asked_for
from ddetr_cli.tao import ENCRYPTING_SUBTASKS, CommandLineError, adapted
from ddetr_cli.tao import without_product_words as without_product_words
from ddetr_cli.terminal import (
    RunConsole,
    ended_in_time,
    hide_image_warnings,
    lasting_output,
    output_as,
    output_words,
    shorten_waits,
    told_interrupts,
)
from ddetr_cli.typed_command import command_typed
from ddetr_data import shown_text

# click's error of a wrong command line, whichever click typer has inside of it.
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    name="ddetr",
    help="Train, evaluate, run and export Deformable DETR from one spec file.",
    epilog="Every command takes --quiet, --verbose, --debug and --json. Scripts for "
    "`tao model deformable_detr` run with `ddetr` instead of `tao`.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich's Markdown and syntax parts take 0.4 s to load
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for command in COMMANDS:
    app.command(command.name, help=command.help, cls=SubtaskCommand, hidden=command.hidden)(
        command.as_function()
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status: 0, 1 fault, 2 bad input, 130 interrupted.

    Args:
        arguments: by default those of the process, which is the command's then.
    """
    star_out_command_line()
    words = list(sys.argv[1:] if arguments is None else arguments)
    given, options = output_words(words)
    shorten_waits()
    hide_image_warnings()
    is_process = arguments is None
    with (
        ended_in_time(with_process=is_process),
        lasting_output(),
        told_interrupts(),
        output_as(options),
        command_typed(words),
    ):
        sys.exit(_status_of(given))


def _status_of(given: Sequence[str]) -> int:
    console = RunConsole()
    try:
        words = _our_words(given, console)
        status: int | None = app(args=words, prog_name="ddetr", standalone_mode=False)
    except (CommandLineError, _UsageError) as error:
        _tell(error, console)
        return 2
    except typer.Abort:
        return 1
    return status or 0


def _our_words(given: Sequence[str], console: RunConsole) -> list[str]:
    """Read TAO's options; the passphrase goes to the environment."""
    line = adapted(given)
    words = line.words
    for notice in line.notices:
        console.notice(notice)
    if line.passphrase is not None:
        try:
            passphrase, is_seen = read_passphrase(line.passphrase)
        except ValueError as error:
            raise CommandLineError(str(error)) from None
        keep_in_environment(passphrase)
        if words[:1] and words[0] in ENCRYPTING_SUBTASKS:  # it wins over that of the spec
            words = [words[0], LEFT_TO_THE_ENVIRONMENT, *words[1:]]
        if is_seen:
            console.notice(NOTICE)
    return with_keys_asked_for(words)


def _tell(error: Exception, console: RunConsole) -> None:
    """Say what is wrong with a command line, as click would, without a secret in it."""
    if not hasattr(error, "show"):
        console.fail(str(error))
        return
    text = io.StringIO()
    error.show(text)
    *usage, sentence = text.getvalue().rstrip().splitlines()
    if "Did you mean" not in sentence:
        sentence = f"{sentence.rstrip('.')}; --help shows what may be written"
    if usage:
        typer.echo("\n".join(usage), err=True)
    console.fail_plainly(shown_text(without_pairs(sentence)))


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
