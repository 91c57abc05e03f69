"""Commands that only look and tell: no results folder, the same exit statuses."""

from __future__ import annotations

from collections.abc import Callable

from ddetr_cli.running.exit_status import (
    EXIT_BAD_INPUT,
    EXIT_INTERRUPTED,
    is_callers_mistake,
    sentence,
)
from ddetr_cli.terminal import RunConsole


def run_command(work: Callable[[RunConsole], int]) -> int:
    """Do the work and give its exit status.

    A caller's mistake or a full disk is one sentence and 2. A fault of the program goes on up:
    with no results folder its traceback belongs on the screen.
    """
    console = RunConsole()
    try:
        return work(console)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        if not (is_callers_mistake(error) or isinstance(error, OSError)):
            raise
        console.fail(sentence(error))
        return EXIT_BAD_INPUT
    finally:
        console.close()
