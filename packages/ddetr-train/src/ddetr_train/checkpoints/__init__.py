"""The checkpoints of a run on the disk: written whole, found again, continued from."""

from ddetr_train.checkpoints.checkpoint_io import AtomicCheckpointIO, copy_whole
from ddetr_train.checkpoints.earlier import left_behind, move_aside, moved_notice
from ddetr_train.checkpoints.names import (
    BEST_NAME,
    LATEST_NAME,
    STAGING_NAME,
    epoch_file_name,
    epoch_files,
)
from ddetr_train.checkpoints.options import ResumeError
from ddetr_train.checkpoints.patience import PATIENCE_KEY, Patience
from ddetr_train.checkpoints.progress import epochs_trained, images_seen
from ddetr_train.checkpoints.resume import (
    Resume,
    find_resume_path,
    parts_of_run,
    read_resume,
)

__all__ = [
    "BEST_NAME",
    "LATEST_NAME",
    "PATIENCE_KEY",
    "STAGING_NAME",
    "AtomicCheckpointIO",
    "Patience",
    "Resume",
    "ResumeError",
    "copy_whole",
    "epoch_file_name",
    "epoch_files",
    "epochs_trained",
    "find_resume_path",
    "images_seen",
    "left_behind",
    "move_aside",
    "moved_notice",
    "parts_of_run",
    "read_resume",
]
