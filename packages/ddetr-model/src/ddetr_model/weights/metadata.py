"""What a checkpoint says about itself, so that it can be used without any other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ddetr_model.config import LossConfig, ModelConfig
from ddetr_model.weights.files import CheckpointError

__all__ = ["METADATA_KEY", "CheckpointMetadata", "metadata_dict", "metadata_of"]

METADATA_KEY = "ddetr"
FORMAT_VERSION = 1
# The first checkpoints hold these of the optimiser's options beside the architecture.
_OF_THE_OPTIMIZER = {"backbone_names", "linear_proj_names", "clip_max_norm"}


class CheckpointMetadata(BaseModel):
    """The value of a checkpoint's top-level key "ddetr"."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", protected_namespaces=(), populate_by_name=True
    )

    format_version: int = Field(FORMAT_VERSION, description="Raised when older readers would err.")
    model_config_: ModelConfig = Field(alias="model", description="The architecture.")
    losses: LossConfig = Field(default_factory=LossConfig, description="What it is trained to do.")
    categories: tuple[dict[str, Any], ...] = Field((), description='{"id", "name"} of each class.')
    preprocess: dict[str, Any] | None = Field(None, description="How images become tensors.")
    metrics: dict[str, float] = Field(default_factory=dict, description="Scores when saved.")
    parts: dict[str, str] = Field(
        default_factory=dict,
        description="Class of each part from outside of this package, by the part's name.",
    )

    @field_validator("format_version")
    @classmethod
    def _check_version(cls, version: int) -> int:
        if version > FORMAT_VERSION:
            raise ValueError(
                f"{version} was made by a newer ddetr-model, this one reads up to "
                f"{FORMAT_VERSION}: install the newer one"
            )
        return version

    @field_validator("categories")
    @classmethod
    def _check_categories(
        cls, categories: tuple[dict[str, Any], ...], info: ValidationInfo
    ) -> tuple[dict[str, Any], ...]:
        for each in categories:
            if not isinstance(each.get("id"), int) or not isinstance(each.get("name"), str):
                raise ValueError(f"a class must have a whole number id and a name, got {each}")
        ids = [each["id"] for each in categories]
        if len(set(ids)) < len(ids):
            raise ValueError(f"the ids of the classes must differ, got {ids}")
        model = info.data.get("model_config_")
        if model is not None and ids and not 0 <= min(ids) <= max(ids) < model.num_classes:
            raise ValueError(
                f"the ids of the classes must be 0 to {model.num_classes - 1}, below the model's "
                f"num_classes {model.num_classes}, got {ids}"
            )
        return categories

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, metadata: Any) -> Any:
        """Take the first checkpoints' `model` apart, which is the whole block of a spec."""
        if not isinstance(metadata, Mapping) or not isinstance(metadata.get("model"), Mapping):
            return metadata
        model = dict(metadata["model"])
        if older := model.pop("pretrained_model_path", None):  # the backbone's file, as in specs
            model["pretrained_backbone_path"] = model.get("pretrained_backbone_path") or older
        if "losses" in metadata:
            return {**metadata, "model": model}
        losses = {name: model.pop(name) for name in LossConfig.model_fields if name in model}
        model = {name: value for name, value in model.items() if name not in _OF_THE_OPTIMIZER}
        return {**metadata, "model": model, "losses": losses}


def metadata_dict(
    config: ModelConfig,
    *,
    losses: LossConfig | None = None,
    parts: Mapping[str, str] | None = None,
    categories: Sequence[Mapping[str, Any]] = (),
    preprocess: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Make the plain value of a checkpoint's "ddetr" key, readable with weights_only=True."""
    metadata = CheckpointMetadata(
        model_config_=config,
        losses=losses or LossConfig(),
        parts=dict(parts or {}),
        categories=tuple(dict(category) for category in categories),
        preprocess=None if preprocess is None else dict(preprocess),
        metrics=dict(metrics or {}),
    )
    return metadata.model_dump(mode="json", by_alias=True)


def metadata_of(contents: Mapping[str, Any], name: str) -> CheckpointMetadata:
    """Check the metadata among a checkpoint's contents; name is the file's, for the error's text.

    Raises:
        CheckpointError: there is none, or it is not ours.
    """
    if METADATA_KEY not in contents:
        raise CheckpointError(
            f"{name} does not say its architecture: it has no key {METADATA_KEY!r}; "
            "`ddetr import` makes such a file from another project's checkpoint"
        )
    try:
        return CheckpointMetadata.model_validate(contents[METADATA_KEY])
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(("ddetr", *(str(part) for part in first["loc"])))
        text = first["msg"].removeprefix("Value error, ")
        raise CheckpointError(f"{name} has bad metadata: {field}: {text}") from error
