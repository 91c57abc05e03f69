"""What a network has to say of itself to serve as a detector's backbone.

B images, C channels and H, W pixels of a feature map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from ddetr_model.config import EXTRA_LEVEL, ModelConfig

__all__ = ["BackboneProtocol", "check_backbone", "check_maps"]


class BackboneProtocol(Protocol):
    """An `nn.Module` that turns images into feature maps; `Backbone` makes one of any network.

    One rule about padding: with `mask`, an image's own pixels of each map are the same as if the
    image were alone, at least in evaluation. `Backbone` offers three ways to keep it or to say
    that it is not kept. A backbone may also have `export_form` (see `ddetr_model.ExportForms`).
    """

    @property
    def num_channels(self) -> Sequence[int]:
        """Channels of each map, finest first."""
        ...

    @property
    def strides(self) -> Sequence[int]:
        """Pixels of the image for one of each map: the map of H x W has ceil(H / stride) rows."""
        ...

    def __call__(self, images: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """Run the network.

        Args:
            images: (B, 3, H, W), normalised, zero where padded.
            mask: (B, H, W) bool, True where an image is padded; None if nothing is.

        Returns:
            A map (B, C, ceil(H / stride), ceil(W / stride)) a stride, finest first.
        """
        ...

    def freeze_pretrained(self) -> None:
        """Stop from learning what training on a few images at a time would spoil.

        Called where the weights come from a file: batch norms, whose statistics a small batch
        cannot estimate, and the first layers, which are the same for every task.
        """
        ...


def check_backbone(backbone: BackboneProtocol, config: ModelConfig) -> None:
    """Refuse a backbone that was handed in and does not go with the config.

    Raises:
        TypeError: it is no module, or does not say what `BackboneProtocol` asks for.
        ValueError: it has not as many maps as config asks for, or config names a file for it.
    """
    kind = type(backbone).__name__
    if not isinstance(backbone, nn.Module):
        raise TypeError(f"backbone must be an nn.Module, got {kind}")
    asked = ("num_channels", "strides", "freeze_pretrained")
    if lacking := [name for name in asked if not hasattr(backbone, name)]:
        raise TypeError(f"backbone {kind} lacks {', '.join(lacking)}: see BackboneProtocol")
    maps = config.num_feature_levels - (EXTRA_LEVEL in config.return_interm_indices)
    if not len(backbone.num_channels) == len(backbone.strides) == maps:
        raise ValueError(
            f"backbone {kind} must give {maps} maps for return_interm_indices "
            f"{list(config.return_interm_indices)}, got num_channels {list(backbone.num_channels)} "
            f"and strides {list(backbone.strides)}"
        )
    if config.pretrained_backbone_path:
        raise ValueError(
            f"pretrained_backbone_path {config.pretrained_backbone_path} is for a backbone that "
            f"config names: load the weights of {kind} before it is handed in"
        )


def check_maps(
    declared: BackboneProtocol,
    kind: type,
    images: Tensor,  # (B, 3, H, W)
    maps: Sequence[Tensor],  # L of (B, C, h, w)
) -> bool:
    """Compare the maps (B, C, H, W) that a network of this class gives with what is declared.

    Networks differ in how they round a side that is no multiple of the stride; either way will do.

    Returns:
        False in a graph that is traced or compiled, where sizes may be no numbers.

    Raises:
        ValueError: another number of maps, of channels, or of pixels; the text names the level.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        return False
    if len(maps) != (count := len(declared.strides)):
        raise ValueError(f"backbone {kind.__name__} declares {count} maps, but gives {len(maps)}")
    height, width = images.shape[-2:]
    for level, (channels, stride, found) in enumerate(
        zip(declared.num_channels, declared.strides, maps, strict=True)
    ):
        *_, found_channels, found_height, found_width = found.shape
        if (
            found_channels != channels
            or found_height not in (height // stride, -(-height // stride))
            or found_width not in (width // stride, -(-width // stride))
        ):
            raise ValueError(
                f"backbone {kind.__name__} declares for level {level} {channels} channels and "
                f"stride {stride}, {-(-height // stride)} x {-(-width // stride)} pixels of an "
                f"image of {height} x {width}, but gives {found_channels} channels and "
                f"{found_height} x {found_width} pixels"
            )
    return True
