"""Datasets, transforms, batches and samplers for PyTorch; needs the extra [torch]."""

from ddetr_data.torch.batches import Batch, collate
from ddetr_data.torch.color_jitter import ColorJitter, draw_color_jitter
from ddetr_data.torch.dataset import DetectionDataset
from ddetr_data.torch.mosaic import Mosaic
from ddetr_data.torch.own_transform import REGION_LABEL, OwnTransform, function_name
from ddetr_data.torch.repeat_factor import RepeatFactors, repeat_factors
from ddetr_data.torch.sampler import DetectionSampler, Draw, SamplerName
from ddetr_data.torch.transforms import EvalTransform, Sample, TrainTransform
from ddetr_data.torch.view import View, draw_view, fixed_canvas_hw

__all__ = [
    "REGION_LABEL",
    "Batch",
    "ColorJitter",
    "DetectionDataset",
    "DetectionSampler",
    "Draw",
    "EvalTransform",
    "Mosaic",
    "OwnTransform",
    "RepeatFactors",
    "Sample",
    "SamplerName",
    "TrainTransform",
    "View",
    "collate",
    "draw_color_jitter",
    "draw_view",
    "fixed_canvas_hw",
    "function_name",
    "repeat_factors",
]
