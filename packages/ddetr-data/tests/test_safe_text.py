"""Names from outside do nothing on a terminal, in a table and in JSON but to be read."""

from __future__ import annotations

import csv
import io
import json
import unicodedata

import pytest

from ddetr_data import shown_json, shown_text, table_cell

ACTING = [
    "\x1b[31m",
    "\x9b2J",
    "\x07",
    "\r",
    "\x00",
    "\x7f",
    "\u202e",
    "\u2066",
    "\u200f",
    "\u200b",
]
ACTING += ["\ufeff", "\u2028", "\udcff", "\U000e0041", "\x85", "\u061c"]
ORDINARY = [
    "car",
    "Fußgänger",
    "行人",
    "\U0001f468\u200d\U0001f469",
    "क्\u200dष",
    "a b",
    "50 %",
    "tab\u00a0",
]


@pytest.mark.parametrize("sign", ACTING)
def test_signs_that_act_are_escapes(sign: str) -> None:
    """Escape sequences, control characters, and what turns or hides text; nothing is lost."""
    # fault 40
    shown = shown_text(f"a{sign}b")
    assert not [each for each in shown if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl")]
    assert shown.encode().decode("unicode_escape") == f"a{sign}b"


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_names_stay(text: str) -> None:
    """Of any script, joined emoji too."""
    assert shown_text(text) == table_cell(text) == shown_json(text) == text


def test_line_ends_stay_where_lines_are_meant() -> None:
    """A traceback has lines; a name has none."""
    assert shown_text("a\n\tb") == "a\\n\\tb"
    assert shown_text("a\n\tb\r", keep_lines=True) == "a\n\tb\\r"


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\uff1d1", "=cmd|' /C calc'!A0"]
)
def test_no_cell_is_a_formula(text: str) -> None:
    """An apostrophe says that it is text."""
    # fault 40
    assert table_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["\t=1", "\r=1", "\n=1"])
def test_no_cell_begins_with_a_sign_that_hides_a_formula(text: str) -> None:
    """Tabs and line ends are escapes."""
    # fault 40
    row = io.StringIO()
    csv.writer(row).writerow([table_cell(text)])
    assert row.getvalue().startswith("\\")


@pytest.mark.parametrize("text", ACTING)
def test_json_reads_back_as_it_was(text: str) -> None:
    """Escapes are JSON's own."""
    # fault 40
    written = shown_json(json.dumps({text: text}, ensure_ascii=False))
    assert json.loads(written) == {text: text}
    assert shown_text(written) == written
