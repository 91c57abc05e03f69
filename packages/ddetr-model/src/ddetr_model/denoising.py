"""Denoising queries: in training the decoder also learns to mend noised objects.

Matching is unstable early in training; queries that start from a noised object need none, since
their answer is known (Li et al. 2022, "DN-DETR", sections 4.2 to 4.4). They share the decoder and
its heads, no other query may look at them, and in evaluation there are none.
B images, T the most objects of an image, G groups, D = G * T denoising queries, Q all queries,
C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ddetr_model.config import LossConfig, ModelConfig
from ddetr_model.decoder import Blocked, Queries
from ddetr_model.matcher import pad_targets
from ddetr_model.position import encode_coordinates

__all__ = ["Denoising", "NoisedObjects"]


class NoisedObjects(NamedTuple):
    """Queries that know their answer; slots beyond an image's objects are padding."""

    content: Tensor  # (B, D, C)
    positions: Tensor  # (B, D, C)
    boxes: Tensor  # (B, D, 4) cxcywh
    padding: Tensor  # (B, D) bool, True is padding
    per_group: int  # T

    def before(self, queries: Queries) -> Queries:
        """Put these in front of the others, and block what must not be seen."""
        known = queries.reference_points.shape[-1]  # x, y alone, or the whole box
        references = [self.boxes[..., :known], queries.reference_points]
        return Queries(
            torch.cat([self.content, queries.content], dim=1),
            torch.cat([self.positions, queries.positions], dim=1),
            torch.cat(references, dim=1),
            self._blocked(queries.content.shape[1]),
        )

    def _blocked(self, num_others: int) -> Blocked:
        """A group sees itself and the other queries, which see no group; none sees padding."""
        count = self.padding.shape[1]
        group = torch.arange(count + num_others, device=self.padding.device) // self.per_group
        group[count:] = -1
        pairs = (group[None] >= 0) & (group[:, None] != group[None])  # (Q, Q)
        nothing = self.padding.new_zeros(len(self.padding), num_others)
        return Blocked(pairs, torch.cat([self.padding, nothing], dim=1))


class Denoising(nn.Module):
    """Makes queries of an image's objects: classes flipped, boxes moved and scaled at random."""

    def __init__(self, config: ModelConfig, losses: LossConfig) -> None:
        """Take width and classes from config, the number of groups and the noise from losses."""
        super().__init__()
        width = config.hidden_dim
        self.num_groups = losses.denoising_groups
        self.label_noise = losses.denoising_label_noise
        self.box_noise = losses.denoising_box_noise
        self.label_embed = nn.Embedding(config.num_classes, width)
        self.box_embed = nn.Linear(2 * width, width)

    def forward(self, targets: Sequence[dict[str, Tensor]]) -> NoisedObjects:
        """Noise each object once a group.

        Args:
            targets: an image's boxes (N, 4) cxcywh 0 to 1 and labels (N,); N may be 0.
        """
        labels, boxes, counts, _ = pad_targets(targets)
        if labels.shape[1] == 0:  # one padded slot, so that every parameter stays in the graph
            labels, boxes = labels.new_zeros(len(counts), 1), boxes.new_zeros(len(counts), 1, 4)
        per_group = labels.shape[1]
        slots = torch.arange(per_group, device=labels.device)
        padding = slots >= torch.tensor(counts, device=labels.device)[:, None]  # (B, T)
        labels = self._flip(labels.repeat(1, self.num_groups))
        boxes = self._move(boxes.repeat(1, self.num_groups, 1))
        encoded = encode_coordinates(boxes, self.box_embed.out_features // 2)  # (B, D, 2 * C)
        return NoisedObjects(
            self.label_embed(labels),
            self.box_embed(encoded.to(self.box_embed.weight.dtype)),
            boxes,
            padding.repeat(1, self.num_groups),
            per_group,
        )

    def _flip(self, labels: Tensor) -> Tensor:
        others = torch.randint_like(labels, self.label_embed.num_embeddings)
        chosen = torch.rand(labels.shape, device=labels.device) < self.label_noise
        return torch.where(chosen, others, labels)

    def _move(self, boxes: Tensor) -> Tensor:
        """Move centres by up to half the noise, and scale sides by up to all of it."""
        noise = (2 * torch.rand_like(boxes) - 1) * self.box_noise
        center, size = boxes[..., :2], boxes[..., 2:]
        moved = [center + noise[..., :2] * size / 2, size * (1 + noise[..., 2:])]
        return torch.cat(moved, dim=-1).clamp(0, 1)
