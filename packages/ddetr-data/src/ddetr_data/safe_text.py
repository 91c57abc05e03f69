"""Names from outside as people see them: without signs that act on a terminal or a spreadsheet."""

from __future__ import annotations

import json
import re

# Control characters and line separators; marks that turn or hide text (bidi, zero width, tags);
# surrogates. The joiners of emoji and of Indic scripts (200C, 200D) stay.
_ACTING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_LAYOUT = "\n\t"
_FORMULA_SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"


def shown_text(text: str, *, keep_lines: bool = False) -> str:
    r"""Write signs that act instead of being seen as escapes: `\x1b`, `\u202e`, `\n`.

    With keep_lines, line ends and tabs stay, for what is written in several lines on purpose.
    """

    def escaped(found: re.Match[str]) -> str:
        sign = found.group()
        if keep_lines and sign in _LAYOUT:
            return sign
        return sign.encode("unicode_escape").decode("ascii")

    return _ACTING.sub(escaped, text)


def shown_json(text: str) -> str:
    r"""Write the acting signs of a JSON text in JSON's own escapes; it reads back as it was."""
    return _ACTING.sub(lambda sign: json.dumps(sign.group())[1:-1], text)


def table_cell(text: str) -> str:
    """Write text for a cell of a CSV file: as shown_text, and none that is taken for a formula.

    A formula gets an apostrophe in front, which spreadsheets read as "this is text".
    """
    cell = shown_text(text)
    return f"'{cell}" if cell.lstrip()[:1] in _FORMULA_SIGNS and cell.strip() else cell
