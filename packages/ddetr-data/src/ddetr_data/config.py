"""The spec's `dataset` block and the flat keys of `convert`, as frozen models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

SIZE_MULTIPLE = 32
# Of the images that published backbones were trained on, a value a channel.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Who computes COCO scores; faster is faster-coco-eval, auto takes it where it is installed.
Judge: TypeAlias = Literal["auto", "pycocotools", "faster"]
DEFAULT_REPEAT_THRESHOLD = 0.001  # as LVIS has it
DEFAULT_MAX_DETECTIONS = 100  # of an image and class that are scored, as COCO has it

TrainSampler: TypeAlias = Literal[
    "default_sampler", "non_uniform_sampler", "uniform_sampler", "repeat_factor"
]
# How the classes of two tables are taken for the same.
ClassMatch: TypeAlias = Literal["id", "name"]


def _as_sequence(value: object) -> object:
    """Take one bare value, as many specs write it, for a list of one."""
    return (value,) if isinstance(value, (str, Path, int, float, Mapping, BaseModel)) else value


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


PositiveInt = Annotated[int, Field(gt=0)]
MaxDropped = Annotated[float, Field(ge=0, le=1)]
Sizes = Annotated[tuple[PositiveInt, ...], BeforeValidator(_as_sequence), Field(min_length=1)]
Channels = Annotated[tuple[float, ...], BeforeValidator(_as_sequence)]
Location = Annotated[str, BeforeValidator(_as_text), Field(min_length=1)]  # a path or a URL
Locations = Annotated[tuple[Location, ...], BeforeValidator(_as_sequence), Field(min_length=1)]


class FrozenModel(BaseModel):
    """Options that do not change once they are checked; an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )


class DataSource(FrozenModel):
    """One set of labelled images."""

    image_dir: Location = Field(description="Folder that the JSON's file names start at.")
    json_file: Locations = Field(
        description="COCO JSON: a file, a folder of them, a glob, or a list of shards."
    )


DataSources = Annotated[tuple[DataSource, ...], BeforeValidator(_as_sequence)]


class InferSource(FrozenModel):
    """Images without labels."""

    image_dir: Locations = Field(
        description="A folder (searched with its sub-folders), a file, or a list."
    )
    classmap: Location | None = Field(
        None, description="Text file, one class name a line; absent: the checkpoint's own names."
    )


class AugmentationConfig(FrozenModel):
    """How training images are varied and how every image is normalised."""

    scales: Sizes = Field(
        tuple(range(480, 801, 32)), description="Short sides in pixels that training draws from."
    )
    input_mean: Channels = Field(
        IMAGENET_MEAN, description="Mean of each channel, of pixels from 0 to 1; 1 or 3."
    )
    input_std: Channels = Field(
        IMAGENET_STD, description="Deviation of each channel, likewise; 1 or 3 values."
    )
    horizontal_flip_prob: float = Field(
        0.5, ge=0, le=1, description="Probability of mirroring a training image."
    )
    train_random_resize: Sizes = Field(
        (400, 500, 600), description="Short sides in pixels drawn from before a random crop."
    )
    train_random_crop_min: int = Field(
        384, gt=0, description="Smallest side of a random crop in pixels."
    )
    train_random_crop_max: int = Field(
        600, gt=0, description="Largest side of a random crop in pixels."
    )
    random_resize_max_size: int = Field(
        1333, gt=0, description="Largest long side in pixels after any resize."
    )
    test_random_resize: int = Field(
        800, gt=0, description="Short side in pixels for validation, test and inference."
    )
    fixed_padding: bool = Field(
        True, description="Pad every training batch of a run to one shape, so memory stays flat."
    )
    fixed_random_crop: int | None = Field(
        None, gt=0, description="Side S of large-scale jitter to S x S pixels; absent: none."
    )
    mosaic: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Probability that a training image is joined with three others that are drawn "
        "at random; 0: none.",
    )
    color_jitter: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Strength of random brightness, contrast, saturation (factors 1 - 0.8 s to "
        "1 + 0.8 s) and hue (0.2 s of a turn) in training; 0: none, 0.5 is usual.",
    )

    @field_validator("input_mean", "input_std")
    @classmethod
    def _count_channels(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) not in (1, 3):
            raise ValueError(f"must have 1 or 3 values, got {len(value)}")
        return value

    @field_validator("input_std")
    @classmethod
    def _divide_by_no_zero(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(channel > 0 for channel in value):
            raise ValueError(f"must be above 0 in every channel, got {list(value)}")
        return value

    @model_validator(mode="after")
    def _agree(self) -> AugmentationConfig:
        if self.train_random_crop_min > self.train_random_crop_max:
            raise ValueError(
                f"train_random_crop_min ({self.train_random_crop_min}) must not be above "
                f"train_random_crop_max ({self.train_random_crop_max})"
            )
        if self.fixed_random_crop is not None and self.fixed_random_crop % SIZE_MULTIPLE:
            raise ValueError(
                f"fixed_random_crop must be divisible by {SIZE_MULTIPLE}, "
                f"got {self.fixed_random_crop}"
            )
        return self


class DatasetConfig(FrozenModel):
    """The whole `dataset` block."""

    train_data_sources: DataSources = Field((), description="What to train on.")
    val_data_sources: DataSources = Field((), description="What to validate on; may be absent.")
    test_data_sources: DataSources = Field((), description="What `evaluate` scores; one or many.")
    infer_data_sources: InferSource | None = Field(None, description="What `inference` reads.")
    num_classes: PositiveInt | Literal["auto"] = Field(
        91, description="Largest category id + 1; auto: taken from the training data."
    )
    batch_size: int = Field(4, gt=0, lt=2**31, description="Images a step and device.")
    workers: int = Field(
        8,
        ge=0,
        description="Processes that load images in training; threads, at most one a core, that "
        "read images and write results in evaluate and inference; 0: the main one.",
    )
    train_sampler: TrainSampler = Field(
        "default_sampler",
        description="How training images are drawn: all alike, every rank from its own sources, "
        "from every source equally often (these two act with dataset_type default alone), or "
        "those of rare classes more often (repeat_factor).",
    )
    repeat_threshold: float = Field(
        DEFAULT_REPEAT_THRESHOLD,
        gt=0,
        le=1,
        description="Fraction of the images below which repeat_factor repeats a class: one in a "
        "fraction f of them, sqrt(repeat_threshold / f) times.",
    )
    dataset_type: Literal["serialized", "default"] = Field(
        "serialized",
        description="serialized: one copy of the labels for all workers, kept for the next "
        "run in $DDETR_CACHE or the user's cache folder; default: a plain list in each.",
    )
    eval_class_ids: Annotated[tuple[int, ...], Field(min_length=1)] | None = Field(
        None, description="Category ids that evaluation is limited to; absent: all."
    )
    ignore_regions: bool = Field(
        False,
        description="Objects that COCO JSON marks with `ignore: 1` are regions that are neither "
        "trained nor scored as false; false: objects like others, which are counted.",
    )
    pin_memory: bool = Field(True, description="Page-lock batches for faster copies to a GPU.")
    corrupt_images: Literal["error", "skip"] = Field(
        "error",
        description="A training image that cannot be read: stop and name it, or leave it out and "
        "count it.",
    )
    integer_white_level: float | None = Field(
        None,
        gt=0,
        description="What is white in images of 16- or 32-bit whole numbers; absent: 2^n - 1 with "
        "the smallest n of 8, 10, 12, 14 and 16 that covers the training images.",
    )
    float_white_level: float | None = Field(
        None,
        gt=0,
        description="What is white in images of floats; absent: 1, or where the training images "
        "have larger values, as for whole numbers.",
    )
    match_classes: ClassMatch = Field(
        "id",
        description="Class tables of data and model that give an id two names, or a name two ids: "
        "id refuses them, name maps the ids by name.",
    )
    max_dropped: MaxDropped = Field(
        0.5,
        description="Fraction of the objects of wanted classes that the rules for faulty labels "
        "may drop; above it, or where none is left, nothing runs.",
    )
    augmentation: AugmentationConfig = Field(
        default_factory=AugmentationConfig, description="Variation and normalisation of images."
    )

    @property
    def sampler_in_effect(self) -> TrainSampler:
        """The sampler that draws; with dataset_type serialized those of TAO do not."""
        if self.dataset_type == "default" or self.train_sampler == "repeat_factor":
            return self.train_sampler
        return "default_sampler"

    @field_validator("train_data_sources", "val_data_sources", "test_data_sources", mode="before")
    @classmethod
    def _accept_absent(cls, value: object) -> object:
        return () if value is None else value
