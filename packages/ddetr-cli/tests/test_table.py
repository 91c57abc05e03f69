"""The table of commands: each has a module, arguments, and help that the program shows."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from dataclasses import fields
from typing import get_type_hints

import pytest
import typer.main

from ddetr_cli.app import app
from ddetr_cli.commands.arguments import SpecArguments, TrainArguments
from ddetr_cli.commands.table import COMMANDS, Command


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_command_has_what_the_table_says(command: Command) -> None:
    """Its module works with these very arguments, and its help names each of them."""
    module = importlib.import_module(f"ddetr_cli.commands.{command.module}")
    if hasattr(module, "SUBTASK"):
        takes_code = hasattr(module, "with_code")
        assert command.arguments is (TrainArguments if takes_code else SpecArguments)
    else:
        first, _console = inspect.signature(module.main).parameters
        assert get_type_hints(module.main)[first] is command.arguments
    shown = typer.main.get_command(app).commands[command.name]  # type: ignore[attr-defined]
    names = {each.name for each in shown.params} - {"help"}
    assert names == {field.name for field in fields(command.arguments)}
    assert shown.help == command.help


def test_no_command_is_loaded_before_it_is_called() -> None:
    """The program's own help needs the table alone."""
    code = (
        "import sys, ddetr_cli.app; "
        "print(sorted(name for name in sys.modules if name.startswith('ddetr_cli.commands.')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['ddetr_cli.commands.arguments', 'ddetr_cli.commands.table']"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_what_is_not_typed_has_the_default_of_the_declaration(command: Command) -> None:
    """The function that typer reads repeats the dataclass, and nothing of its own."""
    expected = inspect.signature(command.arguments).parameters
    shown = inspect.signature(command.as_function()).parameters
    assert {name: each.default for name, each in shown.items()} == {
        name: each.default for name, each in expected.items()
    }
