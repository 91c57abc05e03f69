"""Datasets, transforms, batches and samplers for PyTorch; needs the extra [torch]."""

from ddetr_data.torch.collate import Batch, collate
from ddetr_data.torch.dataset import DetectionDataset
from ddetr_data.torch.sampler import DetectionSampler
from ddetr_data.torch.transforms import EvalTransform, Sample, TrainTransform
from ddetr_data.torch.view import fixed_canvas_hw

__all__ = [
    "Batch",
    "DetectionDataset",
    "DetectionSampler",
    "EvalTransform",
    "Sample",
    "TrainTransform",
    "collate",
    "fixed_canvas_hw",
]
