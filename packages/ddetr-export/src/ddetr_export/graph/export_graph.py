"""The network as it is exported: one input size, no padding, sampling in exportable operators.

B images, H, W the input size, S pixels of all levels together, L levels, C channels of the
transformer, Q queries, K classes.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ddetr_export.graph._attention import ExportedDeformableAttention, PlainForms, Sampler
from ddetr_model import DeformableDETR, Pyramid, check_export_form
from ddetr_model.backbones import thaw_batch_norms


class ExportGraph(nn.Module):
    """A DeformableDETR for images of one size that fill the whole input.

    Whatever follows from the size alone (positions, reference points, sizes of the levels) is
    computed here, once, and is a constant of the file.
    """

    positions: Tensor  # (1, S, C)
    pixel_centers: Tensor  # (1, S, 2), x then y, 0 to 1
    valid_ratios: Tensor  # (1, L, 2), all 1

    def __init__(self, model: DeformableDETR, image_size_hw: tuple[int, int]) -> None:
        """Copy the model and fix its input size; the model itself stays as it is.

        Raises:
            ValueError: the size is too small for the model's feature levels, or a part from outside
                needs a plain form and has none.
        """
        super().__init__()
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        thaw_batch_norms(self.model)  # exporters fold plain batch norms into convolutions
        _take_plain_forms(self.model, PlainForms())
        check_export_form(self.model)
        with torch.no_grad():
            pyramid = _measure(model, image_size_hw)
        self.shapes_hw = pyramid.shapes_hw
        self.register_buffer("positions", pyramid.positions)
        self.register_buffer("pixel_centers", pyramid.pixel_centers())
        self.register_buffer("valid_ratios", pyramid.valid_ratios)
        self.eval()  # an exporter sets the mode back to what it found

    def forward(
        self,
        inputs: Tensor,  # (B, 3, H, W), normalised
    ) -> tuple[Tensor, Tensor]:
        """Detect; pred_logits (B, Q, K) and pred_boxes (B, Q, 4) cxcywh, 0 to 1."""
        model = self.model
        features = model.backbone[0](inputs)
        levels = [
            projection(features[min(level, len(features) - 1)])
            for level, projection in enumerate(model.input_proj)
        ]  # L of (B, C, H, W)
        rows = [
            level.reshape(-1, model.config.hidden_dim, height * width)
            for level, (height, width) in zip(levels, self.shapes_hw, strict=True)
        ]
        pyramid = _FixedPyramid(
            pixels=torch.cat(rows, dim=2).transpose(1, 2),
            positions=self.positions,
            padding=None,
            shapes_hw=self.shapes_hw,
            valid_ratios=self.valid_ratios,
            centers=self.pixel_centers,
        )
        query_embed = None if model.config.two_stage else model.query_embed.weight
        contents, boxes, _ = model.transformer(
            pyramid, query_embed, model.class_embed, model.bbox_embed
        )
        return model.class_embed[len(contents) - 1](contents[-1]), boxes[-1]

    def set_sampler(self, sample: Sampler) -> None:
        """Choose how every deformable attention samples."""
        for module in self.modules():
            if isinstance(module, ExportedDeformableAttention):
                module.sample = sample

    @property
    def attention_heads(self) -> tuple[int, int]:
        """Number of heads, and channels of each."""
        config = self.model.config
        return config.nheads, config.hidden_dim // config.nheads

    def attention_queries(self) -> list[int]:
        """The number of queries of each deformable attention, in the order they run."""
        transformer = self.model.transformer
        in_encoder, in_decoder = (
            sum(isinstance(each, ExportedDeformableAttention) for each in stack.modules())
            for stack in (transformer.encoder, transformer.decoder)
        )
        return [self._num_pixels] * in_encoder + [self._num_queries] * in_decoder

    def output_shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Sizes of pred_logits and pred_boxes without the batch."""
        queries = self._num_queries
        return (queries, self.model.config.num_classes), (queries, 4)

    @property
    def _num_pixels(self) -> int:
        return sum(height * width for height, width in self.shapes_hw)

    @property
    def _num_queries(self) -> int:
        config = self.model.config
        return min(config.num_queries, self._num_pixels) if config.two_stage else config.num_queries


@dataclass(frozen=True)
class _FixedPyramid(Pyramid):
    """A pyramid whose geometry is known before any image."""

    centers: Tensor  # (1, S, 2)

    def pixel_centers(self) -> Tensor:
        return self.centers

    def reference_points(self) -> Tensor:
        return self.centers[:, :, None]  # (1, S, 1, 2): without padding the same on every level


def _measure(model: DeformableDETR, image_size_hw: tuple[int, int]) -> Pyramid:
    """Build the pyramid of an empty image: its sizes and positions are those of every image."""
    try:
        return model.build_pyramid(torch.zeros(1, 3, *image_size_hw))
    except RuntimeError as error:
        height, width = image_size_hw
        raise ValueError(
            f"input_height {height} x input_width {width} is too small for this model's "
            f"{model.config.num_feature_levels} feature levels"
        ) from error


def _take_plain_forms(module: nn.Module, forms: PlainForms) -> None:
    """Replace every part that has a plain form by it; parts inside of such a part are its own."""
    child: Any
    for name, child in module.named_children():
        if hasattr(child, "export_form"):
            setattr(module, name, child.export_form(forms))
        else:
            _take_plain_forms(child, forms)
