"""Numbers that are not finite: the guard that stops a run, and the replay of the step."""

from ddetr_train.nan.guard import MAX_SKIPPED_UPDATES, NanGuard, NonFiniteError
from ddetr_train.nan.non_finite import first_non_finite
from ddetr_train.nan.repeated_step import Replay, replay

__all__ = [
    "MAX_SKIPPED_UPDATES",
    "NanGuard",
    "NonFiniteError",
    "Replay",
    "first_non_finite",
    "replay",
]
