"""Which target class each class of the source labels becomes, and the ids of the target classes."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from ddetr_data.faults import DataError
from ddetr_data.files import read_regular, write_whole
from ddetr_data.types import Category

DEFAULT_MAPPING: Mapping[str, str] = {
    "Person": "person",
    "Person Group": "person",
    "Rider": "person",
    "backpack": "bag",
    "face": "face",
    "large_bag": "bag",
    "person": "person",
    "person group": "person",
    "person_group": "person",
    "personal_bag": "bag",
    "rider": "person",
    "rolling_bag": "bag",
    "rollingbag": "bag",
    "largebag": "bag",
    "personalbag": "bag",
}


_YAML_ENDINGS = (".yaml", ".yml")


class ClassMapping:
    """Look-up of target classes: the exact name first, then ignoring case.

    Source names that differ in case alone and have different targets are only matched exactly.
    """

    def __init__(self, targets: Mapping[str, str]) -> None:
        if not targets:
            raise DataError("a class mapping must name at least one class, it is empty")
        self._exact = dict(targets)
        folded: defaultdict[str, set[str]] = defaultdict(set)
        for source, target in targets.items():
            folded[source.casefold()].add(target)
        self._folded = {key: min(names) for key, names in folded.items() if len(names) == 1}

    @property
    def target_names(self) -> tuple[str, ...]:
        """The distinct targets in reverse alphabetical order: the order of their ids from 1."""
        return tuple(sorted(set(self._exact.values()), reverse=True))

    def target(self, name: str) -> str | None:
        """The class that `name` becomes, None when it is not mapped."""
        return self._exact.get(name) or self._folded.get(name.casefold())


def read_mapping(path: str | os.PathLike[str]) -> ClassMapping:
    """Read a JSON file {source class: target class}.

    Raises:
        DataError: it is no JSON object of texts; the text names file and entry.
    """
    where = f"mapping_path {os.fspath(path)}"
    try:
        text = read_regular(path, "mapping_path").decode("utf-8-sig")
        content = json.loads(text, object_pairs_hook=partial(_without_repeats, where))
    except FileNotFoundError:
        raise FileNotFoundError(f"{where} is missing") from None
    except DataError:
        raise
    except ValueError as error:
        raise DataError(
            f"{where} is not JSON: {error}; write {{source class: target class}}"
        ) from error
    if not isinstance(content, dict) or not content:
        raise DataError(f"{where} must hold {{source class: target class}}")
    for source, target in content.items():
        if not isinstance(target, str) or not target.strip():
            raise DataError(f"{where}: class {source!r} must become a class name, got {target!r}")
    return ClassMapping({source: target.strip() for source, target in content.items()})


def _without_repeats(where: str, pairs: list[tuple[str, object]]) -> dict[str, object]:
    content: dict[str, object] = {}
    for source, target in pairs:
        if content.setdefault(source, target) != target:
            raise DataError(
                f"{where}: class {source!r} stands there twice, "
                f"for {content[source]!r} and {target!r}"
            )
    return content


def number_categories(names: Iterable[str]) -> tuple[Category, ...]:
    """Give the names, in their order, the ids 1 to N."""
    return tuple(Category(number, name) for number, name in enumerate(names, start=1))


def read_classmap(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read class names, one a line, or those under `names` of a YOLO data.yaml.

    Blank lines at the end do not count.

    Raises:
        DataError: no name at all, a blank line between names, or a name that stands there twice.
    """
    where = f"classmap {os.fspath(path)}"
    try:
        text = read_regular(path, "classmap").decode("utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(f"{where} is missing") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{where} must be a UTF-8 text") from error
    if Path(path).suffix.lower() in _YAML_ENDINGS:
        names = _yaml_names(text, where)
    else:
        names = [line.strip() for line in text.rstrip().splitlines()]
    if not names:
        raise DataError(f"{where} must name one class a line, it is empty")
    for number, name in enumerate(names, start=1):
        if not name:
            raise DataError(f"{where}:{number} must hold a name, it is blank")
        if name in names[: number - 1]:
            raise DataError(f"{where}:{number}: {name!r} stands there twice")
    return tuple(names)


def read_kpt_shape(path: str | os.PathLike[str]) -> tuple[int, ...] | None:
    """Read `kpt_shape` of a YOLO data.yaml that read_classmap has read.

    Returns:
        The number of keypoints and of numbers for each, 2 or 3; () where it is null, which says
        that there are none; None where nothing is said, as in a text of names.

    Raises:
        DataError: it is something else.
    """
    if Path(path).suffix.lower() not in _YAML_ENDINGS:
        return None
    where = f"classmap {os.fspath(path)}"
    content = _yaml_content(Path(path).read_text(encoding="utf-8-sig"), where)
    if not isinstance(content, dict) or "kpt_shape" not in content:
        return None
    shape = content["kpt_shape"]
    if shape is None:
        return ()
    is_pair = isinstance(shape, list) and len(shape) == 2 and all(type(n) is int for n in shape)
    if not is_pair or shape[0] < 1 or shape[1] not in (2, 3):
        raise DataError(
            f"{where}: kpt_shape must be [keypoints, 2 or 3 numbers of each], or null for none, "
            f"got {shape!r}"
        )
    return tuple(shape)


def _yaml_names(text: str, where: str) -> list[str]:
    """The names of a YOLO data set: a list, or a table of the numbers from 0 on."""
    content = _yaml_content(text, where)
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(
            f"{where} must have `names`, a list of class names or a table of "
            f"them with the numbers from 0 on, got {names!r}"
        )
    return [name.strip() for name in names]


def _yaml_content(text: str, where: str) -> object:
    try:
        import yaml
    except ImportError as error:
        raise DataError(
            f"{where} is YAML, install ddetr-data[yaml] to read it, or give a "
            "text with one name a line"
        ) from error
    try:
        content: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{where} is no YAML: {error}") from error
    return content


def write_classmap(path: str | os.PathLike[str], categories: Iterable[Category]) -> None:
    """Write the names, one a line, in the order of their ids."""
    write_whole(path, "".join(f"{category.name}\n" for category in categories))
