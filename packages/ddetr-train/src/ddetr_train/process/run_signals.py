"""Which signals ask a run to end."""

from __future__ import annotations

import signal

# Ctrl+C goes to all processes of a terminal's group, a closed terminal's SIGHUP too, the others to
# all of a SLURM job, whose SIGUSR1 announces the end of its time.
NAMES_OF_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
# A launcher may pass on what its processes have got from the terminal already: that is no second
# request.
SAME_REQUEST_SECONDS = 0.5


def ending_signals() -> list[signal.Signals]:
    """Give Ctrl+C, the polite kill, and a terminal that is closed, unless nohup ignores that."""
    signals = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        signals.append(hangup)
    return signals
