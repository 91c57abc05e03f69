"""Signals to all processes of a run: what loads its data leaves the answer to the run."""

from __future__ import annotations

import os
import signal
import threading

# Ctrl+C goes to all processes of a terminal's group, the others to all of a SLURM job.
_OF_THE_RUN = ("SIGINT", "SIGTERM", "SIGUSR1")


def leave_signals_to_the_run(_worker_id: int) -> None:
    """Ignore them in a data-loading worker, unless they come from the process that started it.

    A worker that ended first would fail the run before it has saved its state. Systems that do not
    tell who sends a signal go without.
    """
    if not hasattr(signal, "sigwaitinfo"):
        return
    ours = [getattr(signal, name) for name in _OF_THE_RUN]
    signal.pthread_sigmask(signal.SIG_BLOCK, ours)

    def watch() -> None:
        while signal.sigwaitinfo(ours).si_pid != os.getppid():
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
