"""What a person sees of a run, and the record that status.json keeps."""

from ddetr_cli.terminal.broken_pipe import LastingStream, lasting_output
from ddetr_cli.terminal.console import RunConsole, figure
from ddetr_cli.terminal.image_warnings import hide_image_warnings
from ddetr_cli.terminal.interrupts import Interrupted, Interrupts
from ddetr_cli.terminal.status_file import State, StatusFile
from ddetr_cli.terminal.thread_waits import shorten_waits

__all__ = [
    "Interrupted",
    "Interrupts",
    "LastingStream",
    "RunConsole",
    "State",
    "StatusFile",
    "figure",
    "hide_image_warnings",
    "lasting_output",
    "shorten_waits",
]
