"""YAML as specs use it: plain data, each value with its line."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ddetr_cli.spec import SpecError, parse_spec, read_spec_file


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("2e-4", 2e-4),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-3", -3),
        ("0x10", 16),
        ("0", 0),
        ("0123", "0123"),
        ("12:30", "12:30"),
        ("2024-10-15", "2024-10-15"),
        ("1e", "1e"),
        ("True", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("'2e-4'", "2e-4"),
        ("a = b", "a = b"),
    ],
)
def test_scalars_mean_what_they_look_like(written: str, value: object) -> None:
    """Scientific numbers are numbers; octals, times and dates stay text."""
    found = parse_spec(f"key: {written}", "s.yaml").values["key"]
    assert (found, type(found)) == (value, type(value))


def test_every_value_knows_its_line() -> None:
    """Keys, list entries and blocks remember the line that they stand on."""
    tree = parse_spec("a:\n  b: 1\n  c:\n    - x\n    - y: 2\n", "s.yaml")
    assert tree.location_of(("a", "b")) == "s.yaml:2"
    assert tree.location_of(("a", "c", 0)) == "s.yaml:4"
    assert tree.location_of(("a", "c", 1, "y")) == "s.yaml:5"
    assert tree.location_of(("a", "missing")) == "s.yaml:1"
    assert tree.location_of(("nowhere",)) == ""


def test_keys_are_text_as_written() -> None:
    """A class called 7 or yes is a class name, not a number or a truth."""
    assert parse_spec("{7: a, yes: b}", "s.yaml").values == {"7": "a", "yes": "b"}


def test_anchors_and_merge_keys_work() -> None:
    """A block can be repeated by reference, and its own keys win over the merged ones."""
    tree = parse_spec("base: &b {x: 1, y: 2}\nother:\n  <<: *b\n  y: 3\n", "s.yaml")
    assert tree.values["other"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\na: 2\n", "s.yaml:2: a stands twice, first at s.yaml:1"),
        ("a:\n  b: [1, 2\nc: 3\n", "s.yaml:3: not valid YAML"),
        ("a:\n\tb: 1\n", "s.yaml:2: not valid YAML"),
        ("- a\n- b\n", "a spec must be a block of keys"),
        ("just text", "a spec must be a block of keys"),
        ("a: !!python/object/apply:os.system ['true']", "s.yaml:1: not valid YAML"),
        ("a: !!python/name:os.system", "s.yaml:1: not valid YAML"),
        ("a: &a [*a]", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", "s.yaml:2: not valid YAML: expected a single document"),
        ("a: !mine 1", "s.yaml:1: not valid YAML: '!mine' is no tag of plain data"),
        ("a: 1\nb: 2\0\n", "s.yaml:2: not valid YAML: the character #x0000 is not allowed"),
        ("? [a, b]\n: 2\n", "s.yaml:1: a key must be a word"),
        ("a: {car:red}\n", "s.yaml:1: write a space after the colon of car:red"),
    ],
)
def test_what_is_no_spec_is_refused(text: str, fault: str) -> None:
    """Broken YAML, doubled keys and tags that would run code end in one sentence with a line."""
    with pytest.raises(SpecError, match=r"^s\.yaml") as caught:
        parse_spec(text, "s.yaml")
    assert fault in str(caught.value)


def test_an_empty_spec_is_all_defaults() -> None:
    """A file of comments alone holds no keys."""
    assert parse_spec("# nothing\n", "s.yaml").values == {}


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    """The sentence holds the name and the current folder; a folder is called one."""
    with pytest.raises(FileNotFoundError, match=r"my\.yaml does not exist .*current folder"):
        read_spec_file(Path("my.yaml"))
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_spec_file(tmp_path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """A checkpoint given for a spec is one sentence."""
    path = tmp_path / "model.pth"
    path.write_bytes(b"PK\x03\x04\n\xff\xfe")
    with pytest.raises(SpecError, match=r"pth:2: a spec must be UTF-8 text, got the byte 0xff"):
        read_spec_file(path)


def test_a_file_far_too_large_is_refused_at_once(tmp_path: Path) -> None:
    """A data set given for a spec is not parsed for minutes."""
    path = tmp_path / "instances.json"
    path.write_text("[" + "1," * 2**21 + "1]")
    with pytest.raises(SpecError, match="at most 4 MiB"):
        read_spec_file(path)


def test_aliases_of_aliases_do_not_fill_the_memory() -> None:
    """Nine lines that would stand for half a billion values end in a sentence."""
    lines = ["a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    for name, last in zip("bcdefgh", "abcdefg", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{last}'] * 9)}]")
    with pytest.raises(SpecError, match="at most 200000 values"):
        parse_spec("\n".join(lines), "s.yaml")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_what_windows_editors_write_is_read(encoding: str, tmp_path: Path) -> None:
    """Marks of the byte order, UTF-16 and carriage returns."""
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    path = tmp_path / "spec.yaml"
    path.write_bytes(f"{mark}a:\r\n  b: caf\u00e9\r\n".encode(encoding))
    assert read_spec_file(path).values == {"a": {"b": "café"}}


def test_a_spec_can_come_through_a_pipe(tmp_path: Path) -> None:
    """`-e <(make-spec)` and `-e /dev/stdin` name no plain file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("a: 1\n",))
    writer.start()
    assert read_spec_file(pipe).values == {"a": 1}
    writer.join()
