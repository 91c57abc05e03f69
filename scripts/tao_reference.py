"""Write docs/tao.md: TAO's options, subtasks and keys by version, and what each is here.

    python scripts/tao_reference.py [--check]

--check writes nothing and fails if the file is not what the tables of ddetr_cli.tao say.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from generated import write_or_check

from ddetr_cli.spec import Experiment, fate_of
from ddetr_cli.tao import (
    KEYS,
    NOT_COVERED,
    OPTIONS,
    OTHER_KEYS,
    SOURCES,
    SUBTASKS,
    Option,
    OtherKey,
)
from ddetr_data import ConvertConfig

TARGET = Path(__file__).resolve().parent.parent / "docs" / "tao.md"
HEAD = """# Command lines and specs of TAO

Made by `python scripts/tao_reference.py` from `ddetr_cli.tao`; do not edit. A script for
`tao model deformable_detr` or `tao deploy deformable_detr` runs with `ddetr` in place of `tao`:
what is not in these tables is as it was. `tao deploy`, and whatever runs a TensorRT engine, writes
to `trt_evaluate/` and `trt_inference/`; an ONNX file that is called `.etlt` keeps that name,
encrypted where there is a key. An `.etlt` that TAO has encrypted cannot be opened.

[from-tao.md](from-tao.md) is about commands, notebooks and files.

Each row was read where its source says; names alone were taken.
"""
CONVERT = "convert:"


def reference() -> str:
    """The whole document."""
    options = ((code(each.names), each.versions, meaning(each), each.source) for each in OPTIONS)
    others = ((code([each.name]), each.versions, each.instead, each.source) for each in SUBTASKS)
    renamed = ((code([each.key]), each.versions, here(each), each.source) for each in OTHER_KEYS)
    keys = (
        (
            each.version,
            code([each.block or "top level"]),
            fates(each.block, each.dotted()),
            each.source,
        )
        for each in KEYS
    )
    sources = (
        (name, f"`{at.repository}`", at.version, f"`{at.file}`") for name, at in SOURCES.items()
    )
    parts = [
        HEAD,
        *table("Options", ("option", "of", "here", "source"), options),
        "\n`-k -` reads the key from standard input, `-k @FILE` from a file: `ps` shows neither.",
        *table("Subtasks that are none here", ("subtask", "of", "write", "source"), others),
        *table("Keys that are not ours", ("key", "of", "here", "source"), renamed),
        *table(
            "Keys by the version that had them first", ("version", "block", "here", "source"), keys
        ),
        *table("Sources", ("source", "repository", "tag or commit", "file"), sources),
        "\n## Not covered\n",
        *(f"- {text}" for text in NOT_COVERED),
        "",
    ]
    return "\n".join(parts)


def code(names: Iterable[str]) -> str:
    """Names as code, with commas."""
    return ", ".join(f"`{name}`" for name in names)


def meaning(option: Option) -> str:
    """What an option is here."""
    if option.takes == "key":
        return "`encryption_key`, read before anything else"
    if option.takes == "network":
        return "`deformable_detr` is accepted"
    if not option.sets:
        return f"refused: {option.instead}"
    keys = code(dict.fromkeys(key.rstrip("=") for key in option.sets.values()))
    return f"{keys}; no effect on other subtasks"


def here(key: OtherKey) -> str:
    """What a key of TAO's is here."""
    if not key.becomes:
        return f"no effect; {key.reason}"
    named = (
        code([new]) + (f" ({task})" if task else "") for task, new in sorted(key.becomes.items())
    )
    return "read as " + ", ".join(named)


def fates(block: str, keys: Iterable[str]) -> str:
    """How many keys of a block are kept, and the names of those that are not."""
    model = ConvertConfig if block == CONVERT else Experiment
    found = {key: fate_of(tuple(key.split(".")), model) for key in keys}
    others = {key: fate for key, fate in found.items() if fate != "kept"}
    kept = [key.rpartition(".")[2] for key in found if key not in others]
    parts = [f"kept: {code(kept)}"] if kept else []
    for kind in ("renamed", "without effect", "unknown"):
        names = [key.rpartition(".")[2] for key, fate in others.items() if fate.startswith(kind)]
        parts += [f"{kind}: {code(names)}"] if names else []
    return "; ".join(parts)


def table(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """A heading and a Markdown table."""
    lines = [f"\n## {title}\n", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return lines + [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows
    ]


if __name__ == "__main__":
    write_or_check(TARGET, reference, __doc__)
