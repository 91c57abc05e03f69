"""What happens beside the training loop: files, reports, preemption."""

from ddetr_train.callbacks.last_update import LastUpdate
from ddetr_train.callbacks.preemption import TrainingPreempted
from ddetr_train.callbacks.same_start import SameStart
from ddetr_train.callbacks.selection import choose_callbacks

__all__ = ["LastUpdate", "SameStart", "TrainingPreempted", "choose_callbacks"]
