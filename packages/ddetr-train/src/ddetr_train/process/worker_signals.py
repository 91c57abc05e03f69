"""Signals to all processes of a run: what loads its data leaves the answer to the run."""

from __future__ import annotations

import os
import signal
import threading

from ddetr_train.process.run_signals import NAMES_OF_SIGNALS

_LOOK_SECONDS = 2.0  # between two looks whether the run is still there


def leave_signals_to_the_run(_worker_id: int) -> None:
    """Ignore them in a data-loading worker, unless they come from the process that started it.

    A worker that ended first would fail the run before it has saved its state. One that is stuck in
    a file that never answers ends with the run too, however that has ended. Systems that do not
    tell who sends a signal go without.
    """
    if not hasattr(signal, "sigtimedwait"):
        return
    ours = [getattr(signal, name) for name in NAMES_OF_SIGNALS]
    signal.pthread_sigmask(signal.SIG_BLOCK, ours)
    run = os.getppid()

    def watch() -> None:
        while os.getppid() == run:
            sent = signal.sigtimedwait(ours, _LOOK_SECONDS)
            if sent is not None and sent.si_pid == run:
                break
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
