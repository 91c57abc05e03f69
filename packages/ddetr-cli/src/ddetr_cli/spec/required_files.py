"""Checks, before anything heavy is loaded, that required keys are set and their files exist."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from ddetr_cli.spec.tree import SpecError
from ddetr_data import DataSource, is_url


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
    """Check that there is a source, and that each one's folder and JSON are there.

    What lies behind a URL is looked at when it is read.
    """
    if not sources:
        raise SpecError(f"{key} is not set; give its image_dir and json_file")
    for index, source in enumerate(sources):
        name = f"{key}.{index}" if len(sources) > 1 else key
        if not (is_url(source.image_dir) or Path(source.image_dir).is_dir()):
            raise FileNotFoundError(f"{name}.image_dir: {_absence(source.image_dir, 'folder')}")
        existing_images(source.json_file, f"{name}.json_file")


def existing_images(locations: Sequence[str], key: str) -> None:
    """Check that every folder, file or glob of a list is there; URLs are looked at when read."""
    for location in locations:
        if is_url(location):
            continue
        if not (Path(location).exists() or glob.glob(location, recursive=True)):
            raise FileNotFoundError(f"{key}: {_absence(location, 'file or folder')}")


def _absence(path: str | os.PathLike[str], wanted: str) -> str:
    there = "is not a " + wanted if Path(path).exists() else "does not exist"
    return f"{path} {there}"
