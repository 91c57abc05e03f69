"""Everything around Lightning's Trainer."""

from ddetr_train.engine.trainer import TrainResult, train

__all__ = ["TrainResult", "train"]
