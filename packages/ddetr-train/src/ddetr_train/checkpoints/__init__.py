"""The checkpoints of a run on the disk: written whole, found again, continued from."""

from ddetr_train.checkpoints.checkpoint_io import AtomicCheckpointIO, copy_whole
from ddetr_train.checkpoints.names import (
    BEST_NAME,
    LATEST_NAME,
    STAGING_NAME,
    epoch_file_name,
    epoch_files,
)
from ddetr_train.checkpoints.resume import (
    Resume,
    ResumeError,
    find_resume_path,
    overtaken_notice,
    parts_of_run,
    read_resume,
)

__all__ = [
    "BEST_NAME",
    "LATEST_NAME",
    "STAGING_NAME",
    "AtomicCheckpointIO",
    "Resume",
    "ResumeError",
    "copy_whole",
    "epoch_file_name",
    "epoch_files",
    "find_resume_path",
    "overtaken_notice",
    "parts_of_run",
    "read_resume",
]
