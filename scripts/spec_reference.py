"""Write docs/spec.md: every key of a spec, as the config models declare it.

    python scripts/spec_reference.py [--check]

--check writes nothing and fails if the file is not what the models say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from generated import write_or_check

from ddetr_cli.spec import (
    RENAMED,
    WITHOUT_EFFECT,
    Experiment,
    KeyRow,
    blocks_of,
    dotted,
    key_row,
    key_rows,
)
from ddetr_data.conversion_config import ConvertConfig

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


def reference() -> str:
    """The whole document: the top level, a table a block, then `ddetr convert`'s flat keys."""
    fields = Experiment.model_fields
    top = [key_row(name, field) for name, field in fields.items() if not blocks_of(field)]
    parts = [HEAD, *table("Top level", top)]
    for name, field in fields.items():
        for block in blocks_of(field):
            parts += table(f"`{name}`", key_rows(block, f"{name}."))
    parts += table("`ddetr convert` (a spec of its own)", key_rows(ConvertConfig))
    parts += older_keys()
    return "\n".join(parts)


def older_keys() -> list[str]:
    """What specs of TAO's versions 4 to 7 hold beyond these keys."""
    renamed = [(dotted(old), f"read as `{dotted(new)}`") for old, new in RENAMED.items()]
    dropped = [(dotted(old), f"no effect; {reason}") for old, reason in WITHOUT_EFFECT.items()]
    rows = [f"| `{key}` | {fate} |" for key, fate in (*renamed, *dropped)]
    return [OLDER, "| key | here |", "|---|---|", *rows, ""]


def table(title: str, rows: Iterable[KeyRow]) -> list[str]:
    """A heading and a Markdown table."""
    lines = [f"\n## {title}\n", "| key | default | takes | meaning |", "|---|---|---|---|"]
    for row in rows:
        told = (re.sub("<(?=[a-z])", "&lt;", text) for text in (row.takes, row.meaning))  # no tags
        cells = (f"`{row.name}`", row.default, *told)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


if __name__ == "__main__":
    write_or_check(TARGET, reference, __doc__)
