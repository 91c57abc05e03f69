"""Backbones: torchvision's and timm's networks and GCViT as feature maps."""

from ddetr_model.backbones.backbone import Backbone, freeze_batch_norms
from ddetr_model.backbones.gc_vit import VARIANTS, GCViT

__all__ = ["VARIANTS", "Backbone", "GCViT", "freeze_batch_norms"]
