"""The backbone: any network that gives feature maps, and how it treats padding and norms.

B images, C channels and H, W pixels of a feature map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from ddetr_model.backbones.batch_norms import freeze_batch_norms
from ddetr_model.backbones.protocol import check_maps
from ddetr_model.export_form import ExportForms
from ddetr_model.padding import PaddingEraser, run_unpadded

__all__ = ["Backbone", "PaddingRule"]

PaddingRule = Literal["erase", "alone", "leak"]


class Backbone(nn.Module):
    """A network behind `BackboneProtocol`; its tensors are named `body.<name in the network>`."""

    def __init__(
        self,
        body: nn.Module,
        *,
        num_channels: Sequence[int],
        strides: Sequence[int],
        padding: PaddingRule = "alone",
        pretrained_frozen: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        """Wrap a network.

        Args:
            body: turns images (B, 3, H, W) into maps, in a list or as the values of a dict.
            num_channels: of each map, finest first.
            strides: of each map.
            padding: what keeps the padding of a batch out of an image's maps. "erase" zeroes it in
                front of every convolution and pooling that looks at neighbours, which is exact
                for networks of convolutions, max pooling after ReLU and norms that work pixel by
                pixel. "alone" runs each image by itself in evaluation, right for any network and
                slower; in training the padding leaks. "leak" does nothing.
            pretrained_frozen: how the parameters' names begin that do not learn, with all batch
                norms, when the weights are pretrained.
            name: what ModelConfig.backbone calls it; None for a network of one's own.
        """
        super().__init__()
        self.body = body
        self.num_channels, self.strides = list(num_channels), list(strides)
        self.padding, self.name = padding, name
        self.pretrained_frozen = tuple(pretrained_frozen)
        self._are_maps_checked = False
        self._eraser = PaddingEraser(body) if padding == "erase" else None

    def forward(self, images: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """Run the network.

        Args:
            images: (B, 3, H, W), normalised.
            mask: (B, H, W) bool, True where an image is padded.

        Returns:
            A map (B, C, H, W) a stride, finest first.

        Raises:
            ValueError: the first maps are not as declared.
        """
        if self.padding == "alone" and not self.training:
            return run_unpadded(self._run, images, mask, self.strides)
        if self._eraser is not None:
            self._eraser.mask = mask
        return self._run(images)

    def _run(self, images: Tensor) -> list[Tensor]:
        features = self.body(images)
        maps = list(features.values() if isinstance(features, dict) else features)
        if not self._are_maps_checked:
            self._are_maps_checked = check_maps(self, type(self.body), images, maps)
        return maps

    def freeze_pretrained(self) -> None:
        """Keep what small batches would spoil: batch norms, and what pretrained_frozen names."""
        freeze_batch_norms(self.body)
        for name, parameter in self.body.named_parameters():
            if name.startswith(self.pretrained_frozen):
                parameter.requires_grad_(False)

    def export_form(self, _forms: ExportForms) -> nn.Module:
        """Give this backbone, timm's attentions as products and a soft-max: old opsets need it."""
        child: Any
        for child in self.body.modules():
            if hasattr(child, "fused_attn"):
                child.fused_attn = False
        return self
