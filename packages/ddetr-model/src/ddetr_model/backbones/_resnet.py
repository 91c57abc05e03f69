"""torchvision's ResNet-50 as a backbone."""

from __future__ import annotations

from collections.abc import Sequence

import torchvision
from torchvision.models._utils import IntermediateLayerGetter

from ddetr_model.backbones.backbone import Backbone, PaddingRule

RESNET_50_CHANNELS = (256, 512, 1024, 2048)
STEM_AND_FIRST_STAGE = ("conv1.", "layer1.")  # as torchvision and timm name them


def build_resnet_50(
    stages: Sequence[int], *, dilation: bool = False, padding_invariant: bool = True
) -> Backbone:
    """Build ResNet-50 with random weights; with dilation (DC5) its last stage has stride 16."""
    resnet = torchvision.models.resnet50(replace_stride_with_dilation=[False, False, dilation])
    wanted = {f"layer{stage + 1}": str(stage) for stage in stages}
    strides = [4 * 2**stage for stage in stages]
    padding: PaddingRule = "erase" if padding_invariant else "leak"
    return Backbone(
        IntermediateLayerGetter(resnet, wanted),
        num_channels=[RESNET_50_CHANNELS[stage] for stage in stages],
        strides=[min(stride, 16) for stride in strides] if dilation else strides,
        padding=padding,
        pretrained_frozen=STEM_AND_FIRST_STAGE,
        name="resnet_50",
    )
