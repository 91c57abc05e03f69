"""What a person sees of a run, and the record that status.json keeps."""

from ddetr_cli.terminal.broken_pipe import LastingStream, lasting_output
from ddetr_cli.terminal.console import RunConsole, figure
from ddetr_cli.terminal.image_warnings import hide_image_warnings
from ddetr_cli.terminal.interrupts import (
    EXIT_INTERRUPTED,
    Interrupted,
    Interrupts,
    told_interrupts,
)
from ddetr_cli.terminal.output import (
    OUTPUT_OPTIONS,
    EventLines,
    Output,
    current_output,
    output_as,
    output_words,
)
from ddetr_cli.terminal.signal_watch import ended_in_time, last_word, patient
from ddetr_cli.terminal.status_file import State, StatusFile
from ddetr_cli.terminal.thread_waits import shorten_waits

__all__ = [
    "EXIT_INTERRUPTED",
    "OUTPUT_OPTIONS",
    "EventLines",
    "Interrupted",
    "Interrupts",
    "LastingStream",
    "Output",
    "RunConsole",
    "State",
    "StatusFile",
    "current_output",
    "ended_in_time",
    "figure",
    "hide_image_warnings",
    "last_word",
    "lasting_output",
    "output_as",
    "output_words",
    "patient",
    "shorten_waits",
    "told_interrupts",
]
