"""Everything around Lightning's Trainer."""

from ddetr_train.engine.prepared import PreparedTraining, TrainResult
from ddetr_train.engine.trainer import prepare_training, train

__all__ = ["PreparedTraining", "TrainResult", "prepare_training", "train"]
