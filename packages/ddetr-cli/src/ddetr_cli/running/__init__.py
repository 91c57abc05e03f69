"""One subtask from its spec to its exit status."""

from ddetr_cli.running.command import run_command
from ddetr_cli.running.exit_status import (
    EXIT_BAD_INPUT,
    EXIT_FAILURE,
    EXIT_SUCCESS,
    InputError,
    input_errors,
    sentence,
)
from ddetr_cli.running.extras import EXTRAS, in_our_name
from ddetr_cli.running.record import SPEC_FILE, RunRecord
from ddetr_cli.running.run import (
    Done,
    RecordedWork,
    Run,
    SpecSource,
    Subtask,
    Work,
    call_subtask,
    run_subtask,
)
from ddetr_cli.running.run_log import RunLog

__all__ = [
    "EXIT_BAD_INPUT",
    "EXIT_FAILURE",
    "EXIT_SUCCESS",
    "EXTRAS",
    "SPEC_FILE",
    "Done",
    "InputError",
    "RecordedWork",
    "Run",
    "RunLog",
    "RunRecord",
    "SpecSource",
    "Subtask",
    "Work",
    "call_subtask",
    "in_our_name",
    "input_errors",
    "run_command",
    "run_subtask",
    "sentence",
]
