"""What one Deformable DETR is built from, and what it is trained to do; loads no torch."""

from __future__ import annotations

import difflib
from typing import Annotated, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

NamedBackbone = Literal[
    "resnet_50",
    "gc_vit_xxtiny",
    "gc_vit_xtiny",
    "gc_vit_tiny",
    "gc_vit_small",
    "gc_vit_base",
    "gc_vit_large",
    "gc_vit_large_384",
]
TIMM_PREFIX = "timm:"
EXTRA_LEVEL = 4  # index of the level made by a stride-2 convolution on the last stage
DEFAULT_NUM_SELECT = 100
# The five lists of the documentation page, and the published single-scale models' last stage.
FEATURE_LISTS = ((0, 1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3), (1, 2), (1,), (3,))


ClassWeight = Annotated[float, Field(gt=0)]

_STRICT = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class ModelConfig(BaseModel):
    """The architecture: what decides a network's tensors and its answers."""

    model_config = _STRICT

    num_classes: int = Field(91, gt=0, description="Largest category id + 1.")

    pretrained_backbone_path: str | None = Field(
        None, description="Backbone weights, .pth or .safetensors; null starts from random weights."
    )
    backbone: str = Field(
        "resnet_50", description="resnet_50, one of the gc_vit_* names, or timm:<name>."
    )
    backbone_output_norms: bool = Field(
        False,
        description="A layer norm on each map that a gc_vit backbone gives, as in TAO's detectors.",
    )
    train_backbone: bool = Field(True, description="False freezes the whole backbone.")
    dilation: bool = Field(
        False, description="Last ResNet stage at stride 16 with dilated convolutions (DC5)."
    )
    num_feature_levels: int = Field(
        4, ge=1, le=5, description="Feature levels; equals the length of return_interm_indices."
    )
    return_interm_indices: tuple[int, ...] = Field(
        (1, 2, 3, 4),
        description="Backbone stages 0 to 3 (stride 4 to 32); 4 is one more stride-2 convolution.",
    )

    hidden_dim: int = Field(256, gt=0, description="Channels; divisible by nheads and by 32.")
    nheads: int = Field(8, gt=0, description="Attention heads.")
    enc_layers: int = Field(6, gt=0, description="Encoder layers.")
    dec_layers: int = Field(6, gt=0, description="Decoder layers.")
    enc_n_points: int = Field(4, gt=0, description="Encoder sampling points a head and level.")
    dec_n_points: int = Field(4, gt=0, description="Decoder sampling points a head and level.")
    dim_feedforward: int = Field(1024, gt=0, description="Hidden channels of each feed-forward.")
    dropout_ratio: float = Field(0.3, ge=0, le=1, description="Dropout probability while training.")
    num_queries: int = Field(300, gt=0, description="Objects that one image can have at most.")
    with_box_refine: bool = Field(
        True, description="Each decoder layer refines the last one's boxes."
    )
    two_stage: bool = Field(
        False, description="Queries start from the encoder's proposals; needs with_box_refine."
    )
    padding_invariant: bool = Field(
        True,
        description="The backbone and the group norms leave padding out, so an image's answer does "
        "not depend on its batch; false computes as the published code, for its weights' sake.",
    )
    reference_eps: float = Field(
        1e-5,
        gt=0,
        lt=0.5,
        description="References nearer than this to the image's border count as this near; 1e-5 as "
        "published, 1e-3 in detrex.",
    )
    num_select: int = Field(
        DEFAULT_NUM_SELECT,
        gt=0,
        validate_default=True,
        description="Detections kept an image; the default shrinks to num_queries x num_classes.",
    )

    @property
    def finest_stride(self) -> int:
        """Pixels of the image for one of the finest level."""
        return 4 << self.return_interm_indices[0]

    @field_validator("backbone")
    @classmethod
    def _check_backbone(cls, name: str) -> str:
        known = get_args(NamedBackbone)
        if name in known or (name.startswith(TIMM_PREFIX) and len(name) > len(TIMM_PREFIX)):
            return name
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        choices = ", ".join(known)
        raise ValueError(
            f"backbone must be one of {choices} or timm:<name>; did you mean {nearest}?"
        )

    @field_validator("return_interm_indices")
    @classmethod
    def _check_indices(cls, indices: tuple[int, ...]) -> tuple[int, ...]:
        if indices not in FEATURE_LISTS:
            choices = ", ".join(str(list(known)) for known in FEATURE_LISTS)
            raise ValueError(f"return_interm_indices must be one of {choices}, got {list(indices)}")
        return indices

    @field_validator("num_select")
    @classmethod
    def _check_num_select(cls, num_select: int, info: ValidationInfo) -> int:
        if "num_queries" not in info.data or "num_classes" not in info.data:
            return num_select
        largest = cast(int, info.data["num_queries"]) * cast(int, info.data["num_classes"])
        if num_select == DEFAULT_NUM_SELECT:
            return min(num_select, largest)
        if num_select > largest:
            raise ValueError(
                f"num_select must be 1 to num_queries x num_classes = {largest}, got {num_select}"
            )
        return num_select

    @model_validator(mode="after")
    def _check_together(self) -> ModelConfig:
        if self.num_feature_levels != len(self.return_interm_indices):
            raise ValueError(
                f"num_feature_levels must equal the length of return_interm_indices, got "
                f"{self.num_feature_levels} and {list(self.return_interm_indices)}"
            )
        if self.hidden_dim % self.nheads or self.hidden_dim % 32:
            raise ValueError(
                f"hidden_dim must be divisible by nheads and by 32, got hidden_dim "
                f"{self.hidden_dim} and nheads {self.nheads}"
            )
        if self.two_stage and not self.with_box_refine:
            raise ValueError("two_stage needs with_box_refine: set model.with_box_refine to true")
        if self.dilation and self.backbone != "resnet_50":
            raise ValueError(f"dilation needs backbone resnet_50, got {self.backbone}")
        if self.backbone_output_norms and not self.backbone.startswith("gc_vit"):
            raise ValueError(f"backbone_output_norms needs a gc_vit backbone, got {self.backbone}")
        return self


class LossConfig(BaseModel):
    """What a network is trained to do: which losses there are, how they weigh, what is noised."""

    model_config = _STRICT

    denoising_groups: int = Field(
        0, ge=0, description="Times that training shows each object in noise; 0 does not."
    )
    denoising_label_noise: float = Field(
        0.2, ge=0, le=1, description="Fraction of the noised objects that get a random class."
    )
    denoising_box_noise: float = Field(
        0.4, ge=0, lt=1, description="Largest change of a noised box, as a part of its own size."
    )

    aux_loss: bool = Field(True, description="Losses on every decoder layer, not only the last.")
    cls_loss_coef: float = Field(
        2.0, gt=0, description="Weight of the focal loss, also in matching."
    )
    bbox_loss_coef: float = Field(5.0, gt=0, description="Weight of the L1 loss, also in matching.")
    giou_loss_coef: float = Field(
        2.0, gt=0, description="Weight of the GIoU loss, also in matching."
    )
    focal_alpha: float = Field(0.25, gt=0, le=1, description="Focal loss weight of the positives.")
    class_weights: Literal["balanced"] | dict[str, ClassWeight] | None = Field(
        None,
        description="How often an object of a class counts in the focal loss, by name or id, the "
        "others once (rare: 3); balanced: all objects / (classes x objects of the class).",
    )
    loss_types: tuple[Literal["labels", "boxes"], ...] = Field(
        ("labels", "boxes"), min_length=1, description="Losses that are computed."
    )
