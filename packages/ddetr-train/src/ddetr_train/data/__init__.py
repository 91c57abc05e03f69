"""The batches of a run."""

from ddetr_train.data.datamodule import DetectionDataModule, Position
from ddetr_train.data.worker_failure import DataWorkerError, workers_named
from ddetr_train.data.worst_size import worst_size_hw

__all__ = [
    "DataWorkerError",
    "DetectionDataModule",
    "Position",
    "workers_named",
    "worst_size_hw",
]
