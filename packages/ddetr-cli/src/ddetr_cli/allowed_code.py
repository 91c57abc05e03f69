"""Code of one's own, which a command line names and nothing else may."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from ddetr_cli.tao import CommandLineError

_OPTION = "--allow-code"


def load_function(text: str) -> Callable[..., Any]:
    """Import MODULE and give its FUNCTION; the current folder is looked through last.

    Raises:
        CommandLineError: the text is not MODULE:FUNCTION, the module is not there or cannot be
            imported, or it has no such function.
    """
    module_name, colon, name = text.partition(":")
    if not (colon and all(part.isidentifier() for part in (*module_name.split("."), name))):
        raise CommandLineError(f"{_OPTION} takes MODULE:FUNCTION, as my_transforms:change: {text}")
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.append(folder)  # behind all others, so that it hides no installed module
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module_name:
            raise CommandLineError(
                f"{_OPTION} {text}: there is no module {module_name}, neither installed nor in "
                f"{folder}"
            ) from error
        raise CommandLineError(
            f"{_OPTION} {text}: {module_name} cannot be imported ({type(error).__name__}: {error})"
        ) from error
    found: Callable[..., Any] | None = getattr(module, name, None)
    if callable(found):
        return found
    near = difflib.get_close_matches(name, [key for key in vars(module) if key[0] != "_"], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    what = "has no function" if found is None else "has something that cannot be called as"
    raise CommandLineError(f"{_OPTION} {text}: {module.__file__} {what} {name}{hint}")
