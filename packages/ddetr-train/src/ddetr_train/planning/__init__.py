"""What a run will take in time, memory and disk, found out before its first step."""

from ddetr_train.planning.loading import Loading, Room, batch_bytes, fit_loading, present_room
from ddetr_train.planning.memory import estimate_step_bytes, largest_batch_size, peak_process_bytes
from ddetr_train.planning.plan import (
    Plan,
    PlanError,
    check_disk,
    check_memory,
    free_disk_bytes,
    plan_run,
    readable_size,
)
from ddetr_train.planning.preflight import (
    Setup,
    choose_batch_size,
    choose_workers,
    make_plan,
    open_setup,
    plan_training,
)

__all__ = [
    "Loading",
    "Plan",
    "PlanError",
    "Room",
    "Setup",
    "batch_bytes",
    "check_disk",
    "check_memory",
    "choose_batch_size",
    "choose_workers",
    "estimate_step_bytes",
    "fit_loading",
    "free_disk_bytes",
    "largest_batch_size",
    "make_plan",
    "open_setup",
    "peak_process_bytes",
    "plan_run",
    "plan_training",
    "present_room",
    "readable_size",
]
