"""Backbones: torchvision's and timm's networks and GCViT as feature maps, or one of your own."""

from ddetr_model.backbones.backbone import Backbone, PaddingRule
from ddetr_model.backbones.batch_norms import (
    freeze_batch_norms,
    synchronize_batch_norms,
    thaw_batch_norms,
)
from ddetr_model.backbones.build import build_backbone
from ddetr_model.backbones.folding import fold_batch_norms
from ddetr_model.backbones.gc_vit import VARIANTS, GCViT
from ddetr_model.backbones.protocol import BackboneProtocol, check_backbone, check_maps

__all__ = [
    "VARIANTS",
    "Backbone",
    "BackboneProtocol",
    "GCViT",
    "PaddingRule",
    "build_backbone",
    "check_backbone",
    "check_maps",
    "fold_batch_norms",
    "freeze_batch_norms",
    "synchronize_batch_norms",
    "thaw_batch_norms",
]
