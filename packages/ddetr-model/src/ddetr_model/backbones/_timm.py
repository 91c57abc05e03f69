"""timm's networks as backbones."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ddetr_model.backbones._resnet import STEM_AND_FIRST_STAGE
from ddetr_model.backbones.backbone import Backbone, PaddingRule
from ddetr_model.config import TIMM_PREFIX

_OTHER_SIZE_HW = (128, 160)  # than the 224 x 224 that networks are published for


def build_timm(name: str, stages: Sequence[int], *, padding_invariant: bool = True) -> Backbone:
    """Build a network by timm's name for it, with random weights.

    Raises:
        ValueError: timm is not installed, or its network is unknown, lacks a wanted stage or takes
            images of one size only.
    """
    body = _build_body(name, stages)
    padding: PaddingRule = "erase" if _is_erasable(body) else "alone"
    return Backbone(
        body,
        num_channels=body.feature_info.channels(),
        strides=[_stride_of(stage) for stage in stages],
        padding=padding if padding_invariant else "leak",
        pretrained_frozen=STEM_AND_FIRST_STAGE,
        name=f"{TIMM_PREFIX}{name}",
    )


def _is_erasable(body: nn.Module) -> bool:
    """Tell whether all of a network is made of layers of which zeroed padding is known to be exact.

    Squeezing, average pooling, blurring and attention see padding in ways that zeroing does not
    undo, and timm has many names for each: whatever is not listed counts as one of them.
    """
    from timm.layers.conv_bn_act import ConvNormAct
    from timm.layers.norm_act import BatchNormAct2d
    from timm.models import regnet, resnet
    from timm.models._features import FeatureListNet

    known = {
        *(nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d, nn.ReLU, nn.Identity, nn.Sequential),
        *(FeatureListNet, ConvNormAct, BatchNormAct2d),
        *(resnet.BasicBlock, resnet.Bottleneck, regnet.RegStage, regnet.Bottleneck),
    }
    return all(type(module) in known for module in body.modules())


def _build_body(name: str, stages: Sequence[int]) -> Any:
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
    indices = [_index_of(stage, strides, name) for stage in stages]
    return timm.create_model(name, features_only=True, out_indices=indices)


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


def _index_of(stage: int, strides: list[int], name: str) -> int:
    """Find a stage among timm's maps, whose first may have stride 2, 4 or another."""
    stride = _stride_of(stage)
    if strides.count(stride) != 1:
        raise ValueError(
            f"backbone timm:{name} has no stage {stage} (stride {stride}) for "
            f"return_interm_indices; its strides are {strides}"
        )
    return strides.index(stride)


def _stride_of(stage: int) -> int:
    return 4 * 2**stage  # type: ignore[no-any-return]
