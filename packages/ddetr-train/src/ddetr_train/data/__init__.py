"""The batches of a run."""

from ddetr_train.data.datamodule import DetectionDataModule, Position
from ddetr_train.data.worst_size import worst_size_hw

__all__ = ["DetectionDataModule", "Position", "worst_size_hw"]
