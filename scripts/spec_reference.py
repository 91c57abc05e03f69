"""Write docs/spec.md: every key of a spec, as the config models declare it.

    python scripts/spec_reference.py [--check]

--check writes nothing and fails if the file is not what the models say.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from generated import write_or_check
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ddetr_cli.spec import DERIVED_KEYS, RENAMED, WITHOUT_EFFECT, Experiment, arms, dotted
from ddetr_data.config import ConvertConfig

TARGET = Path(__file__).resolve().parent.parent / "docs" / "spec.md"
HEAD = """# Every key of a spec

Made by `python scripts/spec_reference.py` from the config models; do not edit. A spec is YAML; what
it leaves out has the default, `${a.b}` takes another key's value, and `key=value` behind the
command wins over the file. An unknown key is an error that names the nearest known one.
"""
OLDER = """
## Specs of TAO

`ddetr migrate -e spec.yaml` says what becomes of each key of a spec that was written for it. `???`,
and an empty text for a name or a path, count as not given; so does null, where a key has no null
of its own, numbers and choices too. A number with leading zeros (0123) is refused: some read it as
octal. Paths are those of this machine; only labelled data may be URLs.
`-1` as a batch size of `evaluate`, `inference` and, where no data are read, `dataset` means not
given too. [tao.md](tao.md) has the options and subtasks of each version, and where all of this was
read. Keys that are not ours:
"""
LIMITS = {"gt": "> {}", "ge": ">= {}", "lt": "< {}", "le": "<= {}"}
NAMES = {str: "text", Path: "path", int: "integer", float: "number", bool: "true, false"}


def reference() -> str:
    """The whole document: the top level, a table a block, then `ddetr convert`'s flat keys."""
    top = {k: f for k, f in Experiment.model_fields.items() if not blocks_of(f)}
    parts = [HEAD, *table("Top level", list(top.items()))]
    for name, field in Experiment.model_fields.items():
        for block in blocks_of(field):
            parts += table(f"`{name}`", list(keys(block, f"{name}.")))
    parts += table("`ddetr convert` (a spec of its own)", list(keys(ConvertConfig, "")))
    parts += older_keys()
    return "\n".join(parts)


def older_keys() -> list[str]:
    """What specs of TAO's versions 4 to 7 hold beyond these keys."""
    renamed = [(dotted(old), f"read as `{dotted(new)}`") for old, new in RENAMED.items()]
    dropped = [(dotted(old), f"no effect; {reason}") for old, reason in WITHOUT_EFFECT.items()]
    rows = [f"| `{key}` | {fate} |" for key, fate in (*renamed, *dropped)]
    return [OLDER, "| key | here |", "|---|---|", *rows, ""]


def keys(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    """Every key of a block; a block inside it and the blocks of a list are gone through."""
    for name, field in model.model_fields.items():
        inner = blocks_of(field)
        if not inner and tuple((prefix + name).split(".")) not in DERIVED_KEYS:
            yield prefix + name, field
        for block in inner:
            yield from keys(block, f"{prefix}{name}.")


def blocks_of(field: FieldInfo) -> list[type[BaseModel]]:
    """The config models that a key's value may be, alone or in a list."""
    found = []
    for arm in arms(field.annotation):
        members = get_args(arm) if get_origin(arm) is tuple else (arm,)
        found += [it for it in members if isinstance(it, type) and issubclass(it, BaseModel)]
    return found


def table(title: str, rows: list[tuple[str, FieldInfo]]) -> list[str]:
    """A heading and a Markdown table."""
    lines = [f"\n## {title}\n", "| key | default | takes | meaning |", "|---|---|---|---|"]
    for key, field in rows:
        cells = (f"`{key}`", default(field), takes(field), field.description or "")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def default(field: FieldInfo) -> str:
    """As YAML writes it; a key without one says so."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return "{}" if value == {} else str(value)


def takes(field: FieldInfo) -> str:
    """The types or words that a value may have, and its limits."""
    words: list[str] = []
    for arm in arms(field.annotation):
        words += words_of(arm)
    for constraint in field.metadata:
        for name, text in LIMITS.items():
            limit = getattr(constraint, name, None)
            words += [] if limit is None else [text.format(limit)]
    return ", ".join(dict.fromkeys(words))


def words_of(annotation: Any) -> list[str]:
    """How a reader would call one type."""
    if annotation is type(None):
        return ["null"]
    if annotation in NAMES:
        return [NAMES[annotation]]
    if get_origin(annotation) is tuple:
        members = [arm for each in get_args(annotation) if each is not ... for arm in arms(each)]
        inner = [word for member in members for word in words_of(member)]
        return [f"list of {' or '.join(dict.fromkeys(inner))}"]
    if get_origin(annotation) is dict:
        return ["block"]
    choices = [str(each) for each in get_args(annotation)]
    return choices or ["text"]


if __name__ == "__main__":
    write_or_check(TARGET, reference, __doc__)
