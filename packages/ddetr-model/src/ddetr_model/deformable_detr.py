"""Deformable DETR (Zhu et al. 2021): backbone, pyramid, transformer, heads.

B images, C channels of the transformer, Q queries, K classes, L feature levels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from ddetr_model.backbones import (
    Backbone,
    BackboneProtocol,
    build_backbone,
    check_backbone,
    check_maps,
)
from ddetr_model.config import EXTRA_LEVEL, LossConfig, ModelConfig
from ddetr_model.denoising import Denoising
from ddetr_model.heads import build_heads
from ddetr_model.outputs import DenoisedOutput, DetectorOutput, LayerOutput
from ddetr_model.padding import MaskedGroupNorm, downsample_mask, nearest_mask
from ddetr_model.position import SinePositionEncoding
from ddetr_model.pyramid import Pyramid, flatten_levels
from ddetr_model.transformer import DeformableTransformer, Proposals
from ddetr_model.weights import load_backbone

if TYPE_CHECKING:
    from ddetr_model.weights import CheckpointMetadata, LoadReport

__all__ = ["DeformableDETR"]

NUM_GROUPS = 32  # of the norm behind each input projection

logger = logging.getLogger(__name__)


class DeformableDETR(nn.Module):
    """The whole detector, with the parameter names of the published implementation."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        losses: LossConfig | None = None,
        backbone: BackboneProtocol | None = None,
        transformer: DeformableTransformer | None = None,
        load_backbone_file: bool = True,
    ) -> None:
        """Build the detector with random weights, the backbone's read from its file if it has one.

        Args:
            config: the architecture.
            losses: what it is trained to do: a head that no loss reaches is frozen, and denoising
                has tensors of its own. The defaults if None; of no effect on what is detected.
            backbone: a backbone of one's own, with its weights, instead of the one that config
                names.
            transformer: likewise, a `DeformableTransformer` with layers of one's own, or a class
                derived from it.
            load_backbone_file: False where all weights come later, from a checkpoint.

        Raises:
            ValueError: the backbone is unknown, lacks a stage of return_interm_indices, does not
                fit its file, or has not as many maps as config asks for.
            FileNotFoundError: there is no such file.
        """
        super().__init__()
        self.config = config
        self.losses = losses or LossConfig()
        width = config.hidden_dim
        self.metadata: CheckpointMetadata | None = None  # of the checkpoint this came from
        self.backbone_report: LoadReport | None = None  # of the file that the backbone is from
        if backbone is None:
            backbone = named = build_backbone(config)
            self.backbone_report = _start_backbone(named, config) if load_backbone_file else None
        else:
            check_backbone(backbone, config)
        if not config.train_backbone:
            backbone.freeze_pretrained()
            cast(nn.Module, backbone).requires_grad_(False)
        self.backbone = nn.Sequential(cast(nn.Module, backbone), SinePositionEncoding(width))
        self._are_maps_checked = isinstance(backbone, Backbone)  # which looks at them itself
        self.input_proj = _build_projections(backbone.num_channels, config)
        self.transformer = transformer or DeformableTransformer(config)
        if not config.two_stage:
            self.query_embed = nn.Embedding(config.num_queries, width * 2)
        self.class_embed, self.bbox_embed = build_heads(config)
        self.denoising = Denoising(config, self.losses) if self.losses.denoising_groups else None
        self._list_heads_as_published()
        self._freeze_heads_without_loss()

    def forward(
        self,
        images: Tensor,
        mask: Tensor | None = None,
        targets: Sequence[dict[str, Tensor]] | None = None,
    ) -> DetectorOutput:
        """Detect objects.

        Args:
            images: (B, 3, H, W) float, normalised, padding zero.
            mask: (B, H, W) bool, True where an image is padded; None if nothing is.
            targets: an image's boxes (N, 4) cxcywh and labels (N,), of which training makes
                denoising queries where losses ask for them; of no effect otherwise.
        """
        noised = None
        if self.denoising is not None and self.training and targets is not None:
            noised = self.denoising(targets)
        pyramid = self.build_pyramid(images, mask)
        query_embed = None if self.config.two_stage else self.query_embed.weight
        contents, boxes, proposals = self.transformer(
            pyramid, query_embed, self.class_embed, self.bbox_embed, noised
        )
        layers = [
            LayerOutput(class_head(content), box)
            for class_head, content, box in zip(self.class_embed, contents, boxes, strict=False)
        ]
        if not self.losses.aux_loss:
            layers = layers[-1:]
        denoised = None
        if noised is not None:
            count = noised.padding.shape[1]
            first = tuple(_of_queries(layer, slice(count)) for layer in layers)
            layers = [_of_queries(layer, slice(count, None)) for layer in layers]
            denoised = DenoisedOutput(first, noised.padding)
        return DetectorOutput(
            *layers[-1],
            aux_outputs=tuple(layers[:-1]),
            enc_outputs=None if proposals is None else _proposed(proposals),
            denoised=denoised,
        )

    def freeze_pretrained_backbone(self) -> None:
        """Keep of a pretrained backbone what small batches would spoil, as it says itself."""
        cast(BackboneProtocol, self.backbone[0]).freeze_pretrained()

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Trade time for memory in training: recompute each transformer layer's activations."""
        self.transformer.encoder.recompute = enabled
        self.transformer.decoder.recompute = enabled

    def build_pyramid(self, images: Tensor, mask: Tensor | None = None) -> Pyramid:
        """Turn images (B, 3, H, W) and their mask (B, H, W) into what the transformer reads."""
        backbone, encode_positions = self.backbone
        features = backbone(images, mask)
        if not self._are_maps_checked:
            declared = cast(BackboneProtocol, backbone)
            self._are_maps_checked = check_maps(declared, type(backbone), images, features)
        maps, masks, positions = [], [], []
        for level, projection in enumerate(self.input_proj):
            source = features[min(level, len(features) - 1)]  # (B, channels of the stage, H, W)
            level_map, level_mask = self._project(projection, source, mask)
            position = encode_positions(level_map.shape[-2:], level_mask, images.device)
            maps.append(level_map)
            masks.append(level_mask)
            embedding = self.transformer.level_embed[level, :, None, None]
            positions.append(position.to(embedding.dtype) + embedding)
        return flatten_levels(maps, positions, None if mask is None else masks)

    def _project(
        self, projection: Any, source: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Any]:  # (B, C, H, W) and its mask (B, H, W) or None
        if mask is None:
            return projection(source), None
        if not self.config.padding_invariant:
            projected = projection(source)
            return projected, nearest_mask(mask, projected.shape[-2:])
        convolution, norm = projection
        padding = downsample_mask(mask, source.shape[-2:])
        projected = convolution(source.masked_fill(padding[:, None], 0.0))
        padding = downsample_mask(mask, projected.shape[-2:])
        return norm(projected, padding), padding

    def _list_heads_as_published(self) -> None:
        # Published files name the heads that act inside the transformer a second time there.
        if self.config.with_box_refine:
            self.transformer.decoder.bbox_embed = self.bbox_embed
        if self.config.two_stage:
            self.transformer.decoder.class_embed = self.class_embed

    def _freeze_heads_without_loss(self) -> None:
        # Data-parallel training refuses parameters that no loss reaches.
        only_last = self.config.with_box_refine and not self.losses.aux_loss
        for loss, heads in (("labels", self.class_embed), ("boxes", self.bbox_embed)):
            if loss not in self.losses.loss_types:
                heads.requires_grad_(False)
            elif only_last:
                heads[: self.config.dec_layers - 1].requires_grad_(False)


def _start_backbone(backbone: Backbone, config: ModelConfig) -> LoadReport | None:
    if config.pretrained_backbone_path is None:
        logger.warning(
            "backbone=%s starts from random weights: %s",
            config.backbone,
            "every layer trains, batch norms are live"
            if config.train_backbone
            else "and is frozen",
        )
        return None
    return load_backbone(backbone.body, Path(config.pretrained_backbone_path))


def _build_projections(num_channels: Sequence[int], config: ModelConfig) -> nn.ModuleList:
    width = config.hidden_dim
    convolutions = [nn.Conv2d(channels, width, kernel_size=1) for channels in num_channels]
    if EXTRA_LEVEL in config.return_interm_indices:
        convolutions.append(nn.Conv2d(num_channels[-1], width, 3, stride=2, padding=1))
    for convolution in convolutions:
        nn.init.xavier_uniform_(convolution.weight)
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return nn.ModuleList(
        nn.Sequential(conv, MaskedGroupNorm(NUM_GROUPS, width)) for conv in convolutions
    )


def _of_queries(layer: LayerOutput, chosen: slice) -> LayerOutput:
    return LayerOutput(layer.pred_logits[:, chosen], layer.pred_boxes[:, chosen])


def _proposed(proposals: Proposals) -> LayerOutput:
    return LayerOutput(proposals.logits, torch.sigmoid(proposals.box_logits))
