"""One subtask from its spec to its exit status."""

from ddetr_cli.running.command import answer
from ddetr_cli.running.exit_status import EXIT_BAD_INPUT, EXIT_FAILURE, EXIT_SUCCESS, sentence
from ddetr_cli.running.run import Run, Subtask, run_subtask
from ddetr_cli.running.run_log import Journal

__all__ = [
    "EXIT_BAD_INPUT",
    "EXIT_FAILURE",
    "EXIT_SUCCESS",
    "Journal",
    "Run",
    "Subtask",
    "answer",
    "run_subtask",
    "sentence",
]
