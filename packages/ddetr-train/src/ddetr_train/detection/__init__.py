"""A checkpoint as a detector."""

from ddetr_train.detection.evaluation import evaluate
from ddetr_train.detection.frame_progress import FrameProgress
from ddetr_train.detection.inference import infer
from ddetr_train.detection.torch_detector import TorchDetector, detections_of

__all__ = ["FrameProgress", "TorchDetector", "detections_of", "evaluate", "infer"]
