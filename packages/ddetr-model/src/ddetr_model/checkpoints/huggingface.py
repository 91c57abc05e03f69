"""The layout of Hugging Face transformers' DeformableDetrForObjectDetection, both ways."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddetr_model.checkpoints._architecture import backbone_hint
from ddetr_model.checkpoints._foreign import PUBLISHED_PREPROCESS, ForeignCheckpoint
from ddetr_model.checkpoints._whole_file import writing_whole
from ddetr_model.checkpoints.huggingface_names import to_huggingface_names, to_published_names
from ddetr_model.config import EXTRA_LEVEL, ModelConfig
from ddetr_model.deformable_detr import DeformableDETR
from ddetr_model.parts import refuse_parts_from_outside
from ddetr_model.weights import CheckpointError, read_file

__all__ = ["export_huggingface", "is_huggingface", "read_huggingface", "read_huggingface_file"]

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")

# config.json -> our configs' fields, where both mean the same.
FIELDS = {
    "encoder_attention_heads": "nheads",
    "dropout": "dropout_ratio",
    "dilation": "dilation",
    "auxiliary_loss": "aux_loss",
    "with_box_refine": "with_box_refine",
    "class_cost": "cls_loss_coef",
    "bbox_loss_coefficient": "bbox_loss_coef",
    "giou_loss_coefficient": "giou_loss_coef",
    "focal_alpha": "focal_alpha",
    # Ours alone; transformers reads over them.
    "num_select": "num_select",
    "padding_invariant": "padding_invariant",
    "reference_eps": "reference_eps",
}

# Loss weights, which matter in training alone; transformers takes no fractions here.
WHOLE_NUMBERS = ("class_cost", "bbox_loss_coefficient", "giou_loss_coefficient")


def is_huggingface(contents: Mapping[str, Any]) -> bool:
    """Tell whether tensors carry transformers' names."""
    return "model.level_embed" in contents or "model.query_position_embeddings.weight" in contents


def read_huggingface(folder: Path) -> ForeignCheckpoint:
    """Read a folder of save_pretrained.

    Raises:
        FileNotFoundError: config.json or the weights are not there.
        CheckpointError: the folder holds another kind of model.
    """
    config = _read_config(folder)
    return _with_settings(_read_weights(folder), config, folder)


def read_huggingface_file(tensors: Mapping[str, Any], path: Path | None) -> ForeignCheckpoint:
    """Give the tensors of one file of such a folder the settings that stand beside it.

    Args:
        tensors: what the file holds.
        path: where it lies; None for an open file that does not tell.

    Raises:
        FileNotFoundError: config.json is not there.
        CheckpointError: the file does not tell where it lies, or the folder is of another model.
    """
    if path is None:
        raise CheckpointError(
            "the open file holds a model of transformers, whose settings stand beside it in "
            "config.json: give its path or its folder"
        )
    if path.name in _shards(path.parent):
        return read_huggingface(path.parent)
    return _with_settings(tensors, _read_config(path.parent), path.parent)


def export_huggingface(model: DeformableDETR, folder: str | os.PathLike[str]) -> None:
    """Write config.json, model.safetensors and preprocessor_config.json for from_pretrained.

    Raises:
        ValueError: the backbone is not resnet_50, which alone transformers builds the same way, or
            the model has parts from outside.
    """
    from safetensors.torch import save

    refuse_parts_from_outside(model, "the layout of transformers")
    if model.config.backbone != "resnet_50":
        raise ValueError(
            f"Hugging Face export needs backbone resnet_50, got {model.config.backbone}"
        )
    folder = Path(folder)
    named = to_huggingface_names(model.state_dict())
    tensors = {name: tensor.contiguous() for name, tensor in named.items()}  # trained ones are not
    with writing_whole(folder / "model.safetensors") as file:
        file.write(save(tensors, metadata={"format": "pt"}))
    _write_json(_huggingface_config(model), folder / "config.json")
    preprocess = model.metadata.preprocess if model.metadata else None
    settings = _huggingface_preprocess(preprocess or PUBLISHED_PREPROCESS)
    _write_json(settings, folder / "preprocessor_config.json")


def _huggingface_config(model: DeformableDETR) -> dict[str, Any]:
    config = model.config
    stages = [index + 1 for index in config.return_interm_indices if index != EXTRA_LEVEL]
    names = {str(index): f"LABEL_{index}" for index in range(config.num_classes)}
    if model.metadata is not None:
        names |= {str(entry["id"]): entry["name"] for entry in model.metadata.categories}
    backbone = {
        "model_type": "timm_backbone",
        "backbone": "resnet50",
        "features_only": True,
        "num_channels": 3,
        "out_indices": stages,
        "use_pretrained_backbone": False,
        **({"output_stride": 16} if config.dilation else {}),
    }
    return {
        "architectures": ["DeformableDetrForObjectDetection"],
        "model_type": "deformable_detr",
        "backbone_config": backbone,
        **_huggingface_settings(model),
        **_huggingface_sizes(config),
        "id2label": names,
        "label2id": {name: int(index) for index, name in names.items()},
    }


def _huggingface_settings(model: DeformableDETR) -> dict[str, Any]:
    fields = dict(model.config) | dict(model.losses)
    settings = {name: fields[field] for name, field in FIELDS.items()}
    for name in WHOLE_NUMBERS:
        weight = settings.pop(name)
        if float(weight).is_integer():  # otherwise transformers' own default stands
            settings[name] = int(weight)
    return settings


def _huggingface_sizes(config: ModelConfig) -> dict[str, Any]:
    return {
        "d_model": config.hidden_dim,
        "num_queries": config.num_queries,
        "num_feature_levels": config.num_feature_levels,
        "encoder_layers": config.enc_layers,
        "decoder_layers": config.dec_layers,
        "encoder_ffn_dim": config.dim_feedforward,
        "decoder_ffn_dim": config.dim_feedforward,
        "decoder_attention_heads": config.nheads,
        "encoder_n_points": config.enc_n_points,
        "decoder_n_points": config.dec_n_points,
        "two_stage": config.two_stage,
        "two_stage_num_proposals": config.num_queries,
    }


def _read_config(folder: Path) -> dict[str, Any]:
    config = _read_json(folder / "config.json")
    if config.get("model_type") != "deformable_detr":
        raise CheckpointError(
            f"{folder} holds a {config.get('model_type')} model, not a deformable_detr"
        )
    if config.get("position_embedding_type", "sine") != "sine":
        raise CheckpointError(f"{folder} has learned position embeddings; only sine is known here")
    return config


def _with_settings(
    tensors: Mapping[str, Any], config: Mapping[str, Any], folder: Path
) -> ForeignCheckpoint:
    hints = {field: config[name] for name, field in FIELDS.items() if name in config}
    if config.get("two_stage"):
        hints["num_queries"] = config.get("two_stage_num_proposals", 300)
    backbone = config.get("backbone_config") or config
    hints |= backbone_hint(backbone.get("backbone"))
    weights = to_published_names(tensors)
    return ForeignCheckpoint(
        weights, hints, _categories(config), _preprocess(folder), ties_heads=True
    )


def _read_weights(folder: Path) -> dict[str, Any]:
    if shards := _shards(folder):
        return {key: value for shard in shards for key, value in read_file(folder / shard).items()}
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return read_file(folder / name)
    raise FileNotFoundError(f"neither {' nor '.join(WEIGHT_FILES)} in {folder}")


def _shards(folder: Path) -> list[str]:
    """Name the files that the tensors of a large model are spread over."""
    for name in INDEX_FILES:
        if (folder / name).is_file():
            return sorted(set(_read_json(folder / name)["weight_map"].values()))
    return []


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}")
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path} is no JSON file: {error}") from error
    return dict(contents)


def _categories(config: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    names = config.get("id2label", {})
    return tuple(
        {"id": int(index), "name": name}
        for index, name in names.items()
        if name not in ("N/A", f"LABEL_{index}")  # which stand for no name
    )


def _preprocess(folder: Path) -> dict[str, Any]:
    if not (folder / "preprocessor_config.json").is_file():
        return PUBLISHED_PREPROCESS
    settings = _read_json(folder / "preprocessor_config.json")
    size = settings.get("size")
    # Folders from before 2023 say {"size": 800, "max_size": 1333}.
    sides = {"shortest_edge": size} if isinstance(size, int) else dict(size or {})
    found = {
        "mode": "fixed" if {"height", "width"} <= sides.keys() else None,
        "mean": settings.get("image_mean"),
        "std": settings.get("image_std"),
        "shortest_edge": sides.get("shortest_edge"),
        "max_size": sides.get("longest_edge") or settings.get("max_size"),
        "height": sides.get("height"),
        "width": sides.get("width"),
    }
    return PUBLISHED_PREPROCESS | {
        name: value for name, value in found.items() if value is not None
    }


def _huggingface_preprocess(preprocess: Mapping[str, Any]) -> dict[str, Any]:
    settings = PUBLISHED_PREPROCESS | dict(preprocess)
    sides = {"shortest_edge": settings["shortest_edge"], "longest_edge": settings["max_size"]}
    if settings["mode"] == "fixed":
        sides = {"height": settings["height"], "width": settings["width"]}
    return {
        "image_processor_type": "DeformableDetrImageProcessor",
        "do_resize": True,
        "size": sides,
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": list(settings["mean"]),
        "image_std": list(settings["std"]),
        "do_pad": True,
    }


def _write_json(contents: Mapping[str, Any], path: Path) -> None:
    with writing_whole(path) as file:
        file.write(f"{json.dumps(contents, indent=2)}\n".encode())
