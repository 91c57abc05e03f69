"""Detectors of Hugging Face transformers with few channels and random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers
from torch import nn

__all__ = ["DETECTORS", "IMAGE_HW"]

IMAGE_HW = (96, 128)
_CHANNELS = [8, 16, 24, 32]  # of the backbone's four stages
_SMALL = {
    "d_model": 32,
    "num_queries": 12,
    "encoder_layers": 1,
    "encoder_ffn_dim": 32,
    "encoder_attention_heads": 4,
    "decoder_layers": 2,
    "decoder_ffn_dim": 32,
    "decoder_attention_heads": 4,
}
_HYBRID = {  # of RT-DETR and those that came of it
    "encoder_hidden_dim": 32,
    "encoder_in_channels": _CHANNELS[1:],
    "decoder_in_channels": [32, 32, 32],
    "num_denoising": 0,
}


def _backbone(*stages: int) -> Any:
    config: Any = transformers.ResNetConfig
    return config(
        embedding_size=8,
        hidden_sizes=_CHANNELS,
        depths=[1, 1, 1, 1],
        out_features=[f"stage{stage}" for stage in stages],
    )


def _detector(name: str, **options: Any) -> nn.Module:
    config = getattr(transformers, f"{name}Config")(
        backbone_config=_backbone(2, 3, 4), **_SMALL, **options
    )
    model: nn.Module = getattr(transformers, f"{name}ForObjectDetection")(config)
    return model


def _mask2former() -> nn.Module:
    config = transformers.Mask2FormerConfig(
        backbone_config=_backbone(1, 2, 3, 4),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        dim_feedforward=32,
        encoder_layers=2,
        decoder_layers=3,
        num_attention_heads=4,
        num_queries=12,
    )
    return transformers.Mask2FormerForUniversalSegmentation(config)


DETECTORS: dict[str, Callable[[], nn.Module]] = {
    "DeformableDetr": lambda: _detector(
        "DeformableDetr", with_box_refine=True, two_stage=True, two_stage_num_proposals=12
    ),
    "RTDetr": lambda: _detector("RTDetr", **_HYBRID),
    "RTDetrV2": lambda: _detector("RTDetrV2", **_HYBRID),
    "DFine": lambda: _detector("DFine", **_HYBRID, decoder_n_points=[3, 6, 3]),
    "Mask2Former": _mask2former,
}
