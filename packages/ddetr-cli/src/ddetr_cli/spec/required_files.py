"""Checks, before anything heavy is loaded, that required keys are set and their files exist."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ddetr_cli.spec.schema import is_free_text
from ddetr_cli.spec.tree import KeyPath, SpecError, SpecTree, dotted
from ddetr_data import DataSource, is_url
from ddetr_data.coco import refuse_no_json

# Keys that may name what lies elsewhere; whatever else is a path must be one of this machine.
URL_KEYS = frozenset(
    f"dataset.{split}_data_sources.{name}"
    for split in ("train", "val", "test")
    for name in ("image_dir", "json_file")
) | {"input_source"}  # of coco_to_* alone: convert says so itself
_COLORS = "inference.color_map."
_URL = re.compile(r"(?:[A-Za-z][\w+.\-]*::)*([A-Za-z][\w+.\-]+):/")


def local_path(value: str | os.PathLike[str], key: str) -> str | os.PathLike[str]:
    """Give a path as it is.

    Raises:
        SpecError: it is a URL, of which only a folder of that name would come.
    """
    if (found := _URL.match(str(value))) is None:
        return value
    advice = "write the path alone" if found[1].lower() == "file" else "copy it to or from there"
    raise SpecError(f"{key} must be a path on this machine, got the URL {value}; {advice}")


def refuse_urls(tree: SpecTree, model: type[BaseModel]) -> None:
    """Refuse a URL under any key whose files must lie on this machine.

    Raises:
        SpecError: there is one; the text names the key and its location.
    """

    def look_at(node: Any, path: KeyPath) -> None:
        if isinstance(node, (dict, list)):
            for key, child in node.items() if isinstance(node, dict) else enumerate(node):
                look_at(child, (*path, key))
        elif isinstance(node, str) and is_free_text(model, path) and not _may_be_url(path):
            try:
                local_path(node, dotted(path))
            except SpecError as error:
                raise SpecError(f"{error} ({tree.location_of(path)})") from None

    look_at(tree.values, ())


def _may_be_url(path: KeyPath) -> bool:
    name = dotted(tuple(key for key in path if isinstance(key, str)))
    return name in URL_KEYS or name.startswith(_COLORS)


def given(value: str | os.PathLike[str] | None, key: str) -> Path:
    """Give the path under a key that the subtask requires; the key must be set."""
    if value is None:
        raise SpecError(f"{key} is not set; add it to the spec or give {key}=PATH")
    return Path(value)


def existing_file(value: str | os.PathLike[str] | None, key: str) -> Path:
    """Give the path of a file that must exist.

    Raises:
        SpecError: the key is not set.
        FileNotFoundError: there is no such file.
    """
    path = given(value, key)
    if not path.is_file():
        raise FileNotFoundError(f"{key}: {_absence(path, 'file')}")
    return path


def existing_model(value: str | os.PathLike[str] | None, key: str) -> Path:
    """Give the path of a model that must exist: a file, or a folder as transformers keeps one.

    Raises:
        SpecError: the key is not set.
        FileNotFoundError: there is neither.
    """
    path = given(value, key)
    return path if path.is_dir() else existing_file(path, key)


def optional_file(value: str | os.PathLike[str] | None, key: str) -> None:
    """Check the file of a key, if that is set."""
    if value is not None:
        existing_file(value, key)


def existing_sources(sources: Sequence[DataSource], key: str) -> None:
    """Check that there is a source, that each one's folder and JSON are there, and are JSON.

    What lies behind a URL is looked at when it is read.

    Raises:
        SpecError: there is no source.
        FileNotFoundError: a folder or a file is missing.
        DataError: a file is no JSON.
    """
    if not sources:
        raise SpecError(f"{key} is not set; give its image_dir and json_file")
    for index, source in enumerate(sources):
        name = f"{key}.{index}" if len(sources) > 1 else key
        if not (is_url(source.image_dir) or Path(source.image_dir).is_dir()):
            raise FileNotFoundError(f"{name}.image_dir: {_absence(source.image_dir, 'folder')}")
        existing_images(source.json_file, f"{name}.json_file")
        refuse_no_json(source.json_file)


def existing_images(locations: Sequence[str], key: str) -> None:
    """Check that every folder, file or glob of a list is there; URLs are looked at when read."""
    for location in locations:
        if is_url(location):
            continue
        if not (Path(location).exists() or glob.glob(location, recursive=True)):
            raise FileNotFoundError(f"{key}: {_absence(location, 'file or folder')}")


def _absence(path: str | os.PathLike[str], wanted: str) -> str:
    if Path(path).exists():
        return f"{path} is not a {wanted}; give one"
    return f"{path} does not exist; mend the path{_start_of(path)}"


def _start_of(path: str | os.PathLike[str]) -> str:
    """Say where a relative path begins, which is what most often is another folder than meant."""
    return "" if Path(path).is_absolute() else ", which begins in the current folder"
