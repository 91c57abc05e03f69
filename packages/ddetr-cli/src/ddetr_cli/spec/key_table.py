"""Every key of a config model as a reader sees it: default, what it takes, what it means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ddetr_cli.spec.schema import DERIVED_KEYS, arms, is_model

REQUIRED = "required"
_LIMITS = {"gt": "> {}", "ge": ">= {}", "lt": "< {}", "le": "<= {}"}
_NAMES = {str: "text", Path: "path", int: "integer", float: "number", bool: "true, false"}


@dataclass(frozen=True)
class KeyRow:
    """One key, in words and in YAML."""

    name: str  # train.optim.lr; a key in a list of blocks has no index
    default: str  # as YAML writes it in a line, or REQUIRED
    takes: str  # types, choices and limits
    meaning: str

    @property
    def first_sentence(self) -> str:
        """The meaning up to its first full stop."""
        return self.meaning.partition(". ")[0].rstrip(".") + "."


def key_rows(model: type[BaseModel], prefix: str = "") -> Iterator[KeyRow]:
    """Give every key of a block; a block inside it and the blocks of a list are gone through."""
    for name, field in model.model_fields.items():
        inner = blocks_of(field)
        if not inner and tuple((prefix + name).split(".")) not in DERIVED_KEYS:
            yield key_row(prefix + name, field)
        for block in inner:
            yield from key_rows(block, f"{prefix}{name}.")


def key_row(name: str, field: FieldInfo) -> KeyRow:
    """Describe one field; that of a block, or of a list of blocks, as a whole."""
    return KeyRow(name, default_of(field), _takes(field), field.description or "")


def row_at(model: type[BaseModel], name: str) -> KeyRow:
    """Look up one key by its dotted name.

    Raises:
        KeyError: the model has no such key.
    """
    blocks, fields = [model], []
    for part in name.split("."):
        fields = [each.model_fields[part] for each in blocks if part in each.model_fields]
        if not fields:
            raise KeyError(name)
        blocks = [block for field in fields for block in blocks_of(field)]
    return key_row(name, fields[0])


def blocks_of(field: FieldInfo) -> list[type[BaseModel]]:
    """List the config models that a key's value may be, alone or in a list."""
    found = []
    for arm in arms(field.annotation):
        members = get_args(arm) if get_origin(arm) is tuple else (arm,)
        found += [it for it in members if is_model(it)]
    return found


def is_list_of_blocks(field: FieldInfo) -> bool:
    """Whether the key holds a list whose entries are blocks."""
    return bool(blocks_of(field)) and any(
        get_origin(arm) is tuple for arm in arms(field.annotation)
    )


def default_of(field: FieldInfo) -> str:
    """Write a default in a line as YAML reads it back; a key without one says so."""
    if field.is_required():
        return REQUIRED
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "{}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_scalar, value))}]"
    return "{}" if value == {} else _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    text = str(value)
    is_plain = not isinstance(value, str) or yaml.safe_load(text) == value
    return text if is_plain else f'"{text}"'


def _takes(field: FieldInfo) -> str:
    """Name the types or words that a value may have, and its limits."""
    if blocks_of(field):
        inner = ", ".join(key for block in blocks_of(field) for key in block.model_fields)
        return f"list of blocks: {inner}" if is_list_of_blocks(field) else f"block: {inner}"
    words = [word for arm in arms(field.annotation) for word in _words_of(arm)]
    for constraint in (*field.metadata, *_constraints_in(field.annotation)):
        for name, text in _LIMITS.items():
            limit = getattr(constraint, name, None)
            words += [] if limit is None else [text.format(limit)]
    return ", ".join(dict.fromkeys(words))


def _constraints_in(annotation: Any) -> Iterator[Any]:
    """Give the limits of a union's members, as those of a number beside a block."""
    for member in get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ():
        if get_origin(member) is Annotated:
            for info in get_args(member)[1:]:
                yield from getattr(info, "metadata", ())


def _words_of(annotation: Any) -> list[str]:
    """Say how a reader would call one type."""
    if annotation is type(None):
        return ["null"]
    if annotation in _NAMES:
        return [_NAMES[annotation]]
    if get_origin(annotation) is tuple:
        members = [arm for each in get_args(annotation) if each is not ... for arm in arms(each)]
        inner = [word for member in members for word in _words_of(member)]
        return [f"list of {' or '.join(dict.fromkeys(inner))}"]
    if get_origin(annotation) is dict:
        return ["block"]
    choices = [str(each) for each in get_args(annotation)]
    return choices or ["text"]
