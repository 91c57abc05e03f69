"""The backbone: one feature map for each wanted stage, at strides 4 to 32.

B images, C channels and H, W pixels of a feature map.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import FrozenBatchNorm2d

from ddetr_model.backbones.gc_vit import VARIANTS, GCViT
from ddetr_model.config import EXTRA_LEVEL, TIMM_PREFIX, ModelConfig
from ddetr_model.padding import PaddingEraser, run_unpadded

__all__ = ["Backbone", "freeze_batch_norms"]

RESNET_50_CHANNELS = (256, 512, 1024, 2048)
_OTHER_SIZE_HW = (128, 160)  # than the 224 x 224 that networks are published for


class Backbone(nn.Module):
    """A convolutional network that gives the feature maps of some of its stages."""

    def __init__(self, config: ModelConfig) -> None:
        """Build it with random weights.

        Weights that will be loaded, or none that may learn, mean frozen batch norms.

        Raises:
            ValueError: the network is unknown, not installed or lacks a wanted stage.
        """
        super().__init__()
        stages = [index for index in config.return_interm_indices if index != EXTRA_LEVEL]
        self.body, self.num_channels = _build_body(config, stages)
        self.strides = [4 * 2**stage for stage in stages]
        if config.dilation:
            self.strides = [min(stride, 16) for stride in self.strides]
        self.padding_invariant = config.padding_invariant
        self._eraser = PaddingEraser(self.body) if _is_plain_resnet(self.body) else None
        if not config.train_backbone:
            self.freeze()
        elif config.backbone_weights:
            self.freeze_pretrained()

    def forward(self, images: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """Run the network.

        Args:
            images: (B, 3, H, W), normalised.
            mask: (B, H, W) bool, True where an image is padded.

        Returns:
            A map (B, C, H, W) a stage, finest first.
        """
        if self._eraser is None and self.padding_invariant and not self.training:
            return run_unpadded(self._run, images, mask, self.strides)
        if self._eraser is not None and self.padding_invariant:
            self._eraser.mask = mask
        return self._run(images)

    def _run(self, images: Tensor) -> list[Tensor]:
        features = self.body(images)
        return list(features.values() if isinstance(features, dict) else features)

    def freeze(self) -> None:
        """Let nothing here learn."""
        freeze_batch_norms(self.body)
        self.requires_grad_(False)

    def freeze_pretrained(self) -> None:
        """Keep what small batches would spoil: batch norms, and a ResNet's stem and first stage."""
        freeze_batch_norms(self.body)
        for name, parameter in self.body.named_parameters():
            if name.startswith(("conv1.", "layer1.")):
                parameter.requires_grad_(False)


def freeze_batch_norms(module: nn.Module) -> None:
    """Replace every batch norm below module by one that keeps its statistics and its weights."""
    for name, child in module.named_children():
        if not isinstance(child, nn.BatchNorm2d):
            freeze_batch_norms(child)
            continue
        frozen = _FrozenNormAct(child) if hasattr(child, "act") else _frozen_norm(child)
        frozen.load_state_dict(child.state_dict())
        setattr(module, name, frozen)


class _FrozenNormAct(FrozenBatchNorm2d):  # type: ignore[misc]
    """A frozen batch norm with the activation that timm keeps inside its batch norms."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps)
        self.drop, self.act = norm.drop, norm.act

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        return self.act(self.drop(super().forward(x)))  # type: ignore[operator,no-any-return]


def _frozen_norm(norm: nn.BatchNorm2d) -> FrozenBatchNorm2d:
    return FrozenBatchNorm2d(norm.num_features, norm.eps)


def _is_plain_resnet(body: nn.Module) -> bool:
    # Squeezing, average pooling and attention see padding in ways that zeroing does not undo.
    parts = {type(module).__name__ for module in body.modules()}
    return bool(parts & {"Bottleneck", "BasicBlock"}) and not any(
        "AvgPool" in part or "Attn" in part or "SE" in part or "Eca" in part for part in parts
    )


def _build_body(config: ModelConfig, stages: Sequence[int]) -> tuple[nn.Module, list[int]]:
    if config.backbone == "resnet_50":
        return _build_resnet_50(config.dilation, stages)
    if config.backbone.startswith(TIMM_PREFIX):
        return _build_timm(config.backbone.removeprefix(TIMM_PREFIX), stages)
    variant = VARIANTS[config.backbone]
    gc_vit = GCViT(variant, stages, output_norms=config.backbone_output_norms)
    return gc_vit, gc_vit.num_channels


def _build_resnet_50(dilation: bool, stages: Sequence[int]) -> tuple[nn.Module, list[int]]:
    resnet = torchvision.models.resnet50(replace_stride_with_dilation=[False, False, dilation])
    wanted = {f"layer{stage + 1}": str(stage) for stage in stages}
    return IntermediateLayerGetter(resnet, wanted), [RESNET_50_CHANNELS[stage] for stage in stages]


def _build_timm(name: str, stages: Sequence[int]) -> tuple[nn.Module, list[int]]:
    try:
        import timm
    except ImportError as error:
        raise ValueError(f"backbone timm:{name} needs timm: install ddetr-model[timm]") from error
    if not timm.is_model(name):
        nearest = difflib.get_close_matches(name, timm.list_models(), n=1, cutoff=0.0)[0]
        raise ValueError(f"backbone timm:{name} is unknown to timm; did you mean timm:{nearest}?")
    try:
        every_stage: Any = timm.create_model(name, features_only=True)
        strides = every_stage.feature_info.reduction()
    except (RuntimeError, AttributeError) as error:
        raise ValueError(f"backbone timm:{name} cannot give feature maps: {error}") from error
    _insist_on_other_sizes(every_stage, name)
    places = [_place_of(stage, strides, name) for stage in stages]
    body: Any = timm.create_model(name, features_only=True, out_indices=places)
    return body, list(body.feature_info.channels())


@torch.no_grad()
def _insist_on_other_sizes(body: Any, name: str) -> None:
    """Raise ValueError for networks of their own image size, or whose maps are no (B, C, H, W)."""
    try:
        maps = body.eval()(torch.zeros(1, 3, *_OTHER_SIZE_HW))
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"backbone timm:{name} does not take images of other sizes ({error}); convolutional "
            "networks and the gc_vit ones do"
        ) from error
    if [each.shape[1] for each in maps] != list(body.feature_info.channels()):
        raise ValueError(f"backbone timm:{name} gives feature maps with their channels last")


def _place_of(stage: int, strides: list[int], name: str) -> int:
    stride = 4 * 2**stage
    if strides.count(stride) != 1:
        raise ValueError(
            f"backbone timm:{name} has no stage {stage} (stride {stride}) for "
            f"return_interm_indices; its strides are {strides}"
        )
    return strides.index(stride)
