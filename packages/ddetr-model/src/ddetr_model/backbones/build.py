"""From the name of a backbone in a config to the network."""

from __future__ import annotations

from ddetr_model.backbones._resnet import build_resnet_50
from ddetr_model.backbones._timm import build_timm
from ddetr_model.backbones.backbone import Backbone
from ddetr_model.backbones.gc_vit import VARIANTS, GCViT
from ddetr_model.config import EXTRA_LEVEL, TIMM_PREFIX, ModelConfig

__all__ = ["build_backbone"]


def build_backbone(config: ModelConfig) -> Backbone:
    """Build the backbone that config names, with random weights.

    Weights that will be loaded mean frozen batch norms and first layers.

    Raises:
        ValueError: the network is unknown, not installed or lacks a wanted stage.
    """
    backbone = _named(config)
    if config.pretrained_backbone_path:
        backbone.freeze_pretrained()
    return backbone


def _named(config: ModelConfig) -> Backbone:
    stages = [index for index in config.return_interm_indices if index != EXTRA_LEVEL]
    invariant = config.padding_invariant
    if config.backbone == "resnet_50":
        return build_resnet_50(stages, dilation=config.dilation, padding_invariant=invariant)
    if config.backbone.startswith(TIMM_PREFIX):
        name = config.backbone.removeprefix(TIMM_PREFIX)
        return build_timm(name, stages, padding_invariant=invariant)
    body = GCViT(VARIANTS[config.backbone], stages, output_norms=config.backbone_output_norms)
    return Backbone(
        body,
        num_channels=body.num_channels,
        strides=[4 * 2**stage for stage in stages],
        padding="alone" if invariant else "leak",
        name=config.backbone,
    )
