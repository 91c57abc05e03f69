"""The deformable transformer: encoder, the queries' start, decoder.

B images, Q queries, S pixels of all levels together, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ddetr_model.config import ModelConfig
from ddetr_model.decoder import DeformableDecoder, DeformableDecoderLayer, Queries
from ddetr_model.denoising import NoisedObjects
from ddetr_model.encoder import DeformableEncoder, DeformableEncoderLayer
from ddetr_model.position import encode_coordinates
from ddetr_model.precision import widen
from ddetr_model.proposals import propose_boxes
from ddetr_model.pyramid import Pyramid
from ddetr_ops import MSDeformAttn

__all__ = ["DeformableTransformer", "Proposals", "TransformerOutput"]


class Proposals(NamedTuple):
    """What the first of two stages predicts at every pixel."""

    logits: Tensor  # (B, S, K)
    box_logits: Tensor  # (B, S, 4) cxcywh


class TransformerOutput(NamedTuple):
    """One entry a decoder layer, and the first stage's predictions if there is one."""

    contents: list[Tensor]  # (B, Q, C) each
    boxes: list[Tensor]  # (B, Q, 4) cxcywh each
    proposals: Proposals | None


class DeformableTransformer(nn.Module):
    """Everything between the feature maps and the prediction heads."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        encoder_layer: Callable[[ModelConfig], nn.Module] = DeformableEncoderLayer,
        decoder_layer: Callable[[ModelConfig], nn.Module] = DeformableDecoderLayer,
    ) -> None:
        """Build encoder, decoder and either learned or proposed reference points.

        Args:
            config: the architecture.
            encoder_layer: makes one layer of the encoder, an `EncoderLayer`; called for each.
            decoder_layer: makes one layer of the decoder, a `DecoderLayer`; called for each.
        """
        super().__init__()
        width = config.hidden_dim
        self.num_queries = config.num_queries
        self.padding_invariant = config.padding_invariant
        self.encoder = DeformableEncoder(config, encoder_layer)
        self.decoder = DeformableDecoder(config, decoder_layer)
        self.level_embed = nn.Parameter(torch.empty(config.num_feature_levels, width))
        if config.two_stage:
            self.enc_output = nn.Linear(width, width)
            self.enc_output_norm = nn.LayerNorm(width)
            self.pos_trans = nn.Linear(width * 2, width * 2)
            self.pos_trans_norm = nn.LayerNorm(width * 2)
        else:
            self.reference_points = nn.Linear(width, 2)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as published: Xavier for every matrix, the attention's own start, N(0, 1).

        A layer of one's own that has `reset_parameters` starts as that says.
        """
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for module in self.modules():
            if isinstance(module, MSDeformAttn):
                module.reset_parameters()
        if hasattr(self, "reference_points"):
            nn.init.zeros_(self.reference_points.bias)
        nn.init.normal_(self.level_embed)
        for layer in (*self.encoder.layers, *self.decoder.layers):
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()

    def forward(
        self,
        pyramid: Pyramid,
        query_embed: Tensor | None,  # (Q, 2 * C): positions, then content; None in two stages
        class_heads: nn.ModuleList,
        box_heads: nn.ModuleList,
        noised: NoisedObjects | None = None,
    ) -> TransformerOutput:
        """Encode the pyramid (B, S, C) and decode the queries (B, Q, C), noised objects first."""
        memory = self.encoder(pyramid)  # (B, S, C)
        proposals = None
        if query_embed is None:
            proposals = self._propose(memory, pyramid, class_heads[-1], box_heads[-1])
            queries = self._proposed_queries(proposals, pyramid)
        else:
            queries = self._learned_queries(query_embed, memory.shape[0])
        if noised is not None:
            queries = noised.before(queries)
        contents, boxes = self.decoder(queries, memory, pyramid, box_heads)
        return TransformerOutput(contents, boxes, proposals)

    def _learned_queries(self, query_embed: Tensor, batch_size: int) -> Queries:
        positions, content = (
            half.expand(batch_size, -1, -1) for half in query_embed.chunk(2, dim=-1)
        )  # (B, Q, C) each
        return Queries(content, positions, self.reference_points(positions).sigmoid())

    def _propose(
        self, memory: Tensor, pyramid: Pyramid, class_head: nn.Module, box_head: nn.Module
    ) -> Proposals:
        anchors, usable = propose_boxes(pyramid)  # (B, S, 4), (B, S)
        features = memory.masked_fill(~usable[..., None], 0.0)
        features = self.enc_output_norm(self.enc_output(features))  # (B, S, C)
        return Proposals(class_head(features), widen(box_head(features)) + anchors)

    def _proposed_queries(self, proposals: Proposals, pyramid: Pyramid) -> Queries:
        scores = proposals.logits[..., 0]  # (B, S), the published choice of objectness
        if pyramid.padding is not None and self.padding_invariant:
            scores = scores.masked_fill(pyramid.padding, float("-inf"))
        best = scores.topk(min(self.num_queries, scores.shape[1]), dim=1).indices  # (B, Q)
        box_logits = proposals.box_logits.gather(1, best[..., None].expand(-1, -1, 4)).detach()
        boxes = box_logits.sigmoid()  # (B, Q, 4)
        encoded = encode_coordinates(boxes, self.level_embed.shape[1] // 2)  # (B, Q, 2 * C)
        encoded = encoded.to(self.level_embed.dtype)
        positions, content = self.pos_trans_norm(self.pos_trans(encoded)).chunk(2, dim=-1)
        return Queries(content, positions, boxes)
