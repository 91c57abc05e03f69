"""What an exported ONNX file says about itself: classes, preprocessing, model and versions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddetr_data import Category
from ddetr_export.__about__ import __version__

if TYPE_CHECKING:
    import onnx

_PREFIX = "ddetr."
FORMAT_VERSION = 1  # raised when older readers would err; files without one are of the first


@dataclass(frozen=True)
class ExportMetadata:
    """The `metadata_props` of an exported file; all of it is JSON text under `ddetr.*` keys."""

    categories: tuple[Category, ...]
    preprocess: Mapping[str, Any]  # a ddetr_data PreprocessConfig of mode "fixed", as a dict
    model: Mapping[str, Any]  # a ddetr_model ModelConfig, as a dict
    version: str = __version__  # of ddetr-export
    tolerance: float | None = None  # largest error against PyTorch that the export met

    @property
    def class_ids(self) -> tuple[int, ...]:
        """The ids of the classes; none where nobody knows them."""
        return tuple(category.id for category in self.categories)

    def to_properties(self) -> dict[str, str]:
        """The key and value texts that `metadata_props` holds."""
        categories = [vars(each) for each in self.categories]
        values = {"format_version": FORMAT_VERSION, **vars(self), "categories": categories}
        return {f"{_PREFIX}{key}": json.dumps(value) for key, value in values.items()}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], source: str) -> ExportMetadata:
        """Read what `to_properties` wrote; source names the file in an error.

        Raises:
            ValueError: a key is absent, is not what `to_properties` writes, or a newer version's.
        """
        try:
            found = json.loads(properties.get(f"{_PREFIX}format_version", "1"))
            if found > FORMAT_VERSION:
                raise ValueError(
                    f"{source} has metadata of version {found}, made by a newer ddetr-export; this "
                    f"one reads up to {FORMAT_VERSION}: install the newer one"
                )
            values = {
                key: json.loads(properties[_PREFIX + key])
                for key in ("categories", "preprocess", "model", "version")
            }
            for key in ("preprocess", "model"):
                if not isinstance(values[key], dict):
                    raise TypeError(f"{_PREFIX}{key} holds no names")
            categories = tuple(Category(**each) for each in values["categories"])
            _check_ids(categories, values["model"].get("num_classes"))
            return cls(
                categories=categories,
                preprocess=values["preprocess"],
                model=values["model"],
                version=values["version"],
                tolerance=json.loads(properties.get(f"{_PREFIX}tolerance", "null")),
            )
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{source} does not carry the metadata of ddetr-export ({error}); "
                "export the checkpoint with `ddetr export`"
            ) from error


def _check_ids(categories: Sequence[Category], num_classes: int | None) -> None:
    """Refuse class ids that are no index of the model's logits."""
    if num_classes is None:
        return
    for each in categories:
        if not 0 <= each.id < num_classes:
            raise TypeError(f"class id {each.id} is not one of the model's 0 to {num_classes - 1}")


def write_metadata(model: onnx.ModelProto, metadata: ExportMetadata) -> None:
    """Write the metadata into the model; keys of other tools stay."""
    from onnx import helper

    kept = {
        entry.key: entry.value
        for entry in model.metadata_props
        if not entry.key.startswith(_PREFIX)
    }
    helper.set_model_props(model, {**kept, **metadata.to_properties()})


def read_metadata(model: onnx.ModelProto, source: str) -> ExportMetadata:
    """Read the metadata of a loaded model; source names the file in an error."""
    return ExportMetadata.from_properties(
        {entry.key: entry.value for entry in model.metadata_props}, source
    )
