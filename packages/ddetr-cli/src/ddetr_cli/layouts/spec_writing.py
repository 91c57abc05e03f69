"""A spec of a labelled set, as text with comments."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ddetr_cli.layouts._recipe import BATCH_SIZE, from_nothing, from_weights
from ddetr_cli.layouts.found import FoundSet, Source, Split
from ddetr_cli.layouts.measuring import Objects
from ddetr_cli.spec import SCHEMA_COMMENT, SCHEMA_FILE, Experiment

_MULTIPLE = 32
_LEAST_SIDE = 64
_SMALL_PIXELS = 24  # three points of the finest level; at the smallest scale still two, nearly
_TOLD_CLASSES = 12


@dataclass(frozen=True)
class Weights:
    """A whole detector to start from."""

    path: Path
    architecture: Mapping[str, Any]  # keys of `model` that are not the documented defaults


def spec_text(
    found: FoundSet,
    sources: Sequence[Source],
    root: Path,
    *,
    weights: Weights | None = None,
    objects: Objects | None = None,
) -> str:
    """Write the spec; whole paths, so that it works from any folder.

    Args:
        found: what is in the folder.
        sources: its labels as COCO JSON.
        root: the folder.
        weights: what training starts from; None: random numbers.
        objects: what the sources were measured to hold; None: it is not known.
    """
    of = {split: [each for each in sources if each.split == split] for split in _KEYS}
    tested = of["test"] or of["val"]
    lines = [
        f"{SCHEMA_COMMENT}{SCHEMA_FILE}",
        f"# Made by `ddetr init` of {_comment(str(root))}. Every key: ddetr train --help-keys",
        "results_dir: results",
        "",
        "dataset:",
        *_sources("train_data_sources", of["train"]),
    ]
    if of["val"]:
        lines += _sources("val_data_sources", of["val"])
    else:
        lines.append("  # val_data_sources: none was found; --convert makes a split")
    if tested:
        lines += _sources("test_data_sources", tested)
    lines += [
        f"  num_classes: auto # {_classes(found)}",
        f"  batch_size: {BATCH_SIZE}",
        *_augmentation(found.sizes_wh, None if weights else objects),
        "",
        *(
            from_weights(weights.path, weights.architecture)
            if weights is not None
            else from_nothing(found.count("train"), objects.most if objects else 0)
        ),
        "",
        *_REST.splitlines(),
    ]
    return "\n".join(lines) + "\n"


_KEYS: tuple[Split, ...] = ("train", "val", "test")
_REST = """evaluate:
  checkpoint: ${results_dir}/train/dd_model_best.pth

inference:
  checkpoint: ${results_dir}/train/dd_model_best.pth

export:
  checkpoint: ${results_dir}/train/dd_model_best.pth
  onnx_file: ${results_dir}/export/model.onnx
"""


def _sources(key: str, sources: Sequence[Source]) -> Iterator[str]:
    yield f"  {key}:"
    for source in sources:
        yield f"    - image_dir: {_text(source.image_dir)}"
        yield f"      json_file: {_text(source.json_file)}"


def _augmentation(sizes_wh: Sequence[tuple[int, int]], objects: Objects | None) -> Iterator[str]:
    """Shrink the documented sizes for small images, and for objects that stay large enough."""
    defaults = Experiment().dataset.augmentation
    side = median(min(size) for size in sizes_wh) if sizes_wh else min(defaults.scales)
    target, why = defaults.test_random_resize, f"images of {side:.0f} pixels"
    if side < min(defaults.scales):
        target = max(_rounded(side), _LEAST_SIDE)
    if objects is not None:
        enough = max(_rounded(_SMALL_PIXELS / objects.small + _MULTIPLE / 2), _LEAST_SIDE)
        if enough < target:
            target, why = enough, f"objects, small ones of {_SMALL_PIXELS} pixels then"
    if target == defaults.test_random_resize:
        yield f"  # augmentation: the documented sizes suit {why}"
        return
    factor = target / defaults.test_random_resize
    scales, crops = _scaled(defaults.scales, factor), _scaled(defaults.train_random_resize, factor)
    yield f"  augmentation: # for {why}; larger is slower and finds smaller ones"
    yield f"    scales: {scales}"
    yield f"    train_random_resize: {crops}"
    yield f"    train_random_crop_min: {_scaled([defaults.train_random_crop_min], factor)[0]}"
    yield f"    train_random_crop_max: {_scaled([defaults.train_random_crop_max], factor)[0]}"
    longest = _scaled([defaults.random_resize_max_size], factor)[0]
    yield f"    random_resize_max_size: {longest}"
    yield f"    test_random_resize: {target}"


def _scaled(sizes: Sequence[int], factor: float) -> list[int]:
    return sorted({max(_rounded(size * factor), _MULTIPLE) for size in sizes})


def _rounded(side: float) -> int:
    return round(side / _MULTIPLE) * _MULTIPLE


def _classes(found: FoundSet) -> str:
    names = found.class_names
    told = ", ".join(names[:_TOLD_CLASSES]) + (", ..." if len(names) > _TOLD_CLASSES else "")
    return _comment(f"{len(names)} classes: {told}") if names else "class names are not known"


def _comment(text: str) -> str:
    """Keep what comes from outside in its line."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _text(path: Path) -> str:
    """Write a path as YAML: a `${` in a name is no reference."""
    return json.dumps(str(path.absolute()).replace("${", "\\${"), ensure_ascii=False)
