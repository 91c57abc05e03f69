"""Commands that only look and tell: no results folder, the same exit statuses."""

from __future__ import annotations

from collections.abc import Callable

from ddetr_cli.running.exit_status import (
    EXIT_BAD_INPUT,
    EXIT_INTERRUPTED,
    is_callers_mistake,
    sentence,
)
from ddetr_cli.running.run_log import screen_log
from ddetr_cli.terminal import Interrupts, RunConsole


def run_command(work: Callable[[RunConsole], int]) -> int:
    """Do the work and give its exit status.

    A signal is one sentence and 130, a caller's mistake or a full disk one and 2. A fault of the
    program goes on up: with no results folder its traceback belongs on the screen.
    """
    console = RunConsole()
    with Interrupts() as interrupts, screen_log(console, None):
        return _answered(work, console, interrupts)


def _answered(
    work: Callable[[RunConsole], int], console: RunConsole, interrupts: Interrupts
) -> int:
    try:
        return work(console)
    except (KeyboardInterrupt, Exception) as error:
        if interrupts.received is not None or isinstance(error, KeyboardInterrupt):
            interrupts.ignore()
            console.fail("interrupted")
            return EXIT_INTERRUPTED
        if not (is_callers_mistake(error) or isinstance(error, OSError)):
            raise
        console.fail(sentence(error))
        console.show_cause(error)
        return EXIT_BAD_INPUT
    finally:
        console.close()
