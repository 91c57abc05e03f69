"""What `import ddetr` gives: the subtasks as functions, and detection with a trained file."""

from ddetr_cli.from_python.model import InputError, Model, load
from ddetr_cli.from_python.runs import (
    Evaluation,
    Training,
    evaluate,
    export,
    inference,
    train,
)

__all__ = [
    "Evaluation",
    "InputError",
    "Model",
    "Training",
    "evaluate",
    "export",
    "inference",
    "load",
    "train",
]
