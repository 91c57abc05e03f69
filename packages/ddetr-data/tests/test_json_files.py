"""Finding a source's JSON files, and reading them in whatever dress they come."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from ddetr_data.coco import find_json_files, read_json_object
from ddetr_data.faults import DataError, FaultLog

TEXT = json.dumps({"images": [], "name": "Grüße"}, ensure_ascii=False)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder with two JSON files of labels, a log of ours and one other file."""
    for name in ("b.json", "a.json", "status.json", "notes.txt"):
        (tmp_path / name).write_text("{}")
    return tmp_path


def names_of(patterns: list[str]) -> list[str]:
    return [path.name for path in find_json_files(patterns)]


def test_file_folder_glob_and_list_name_the_same_files(shards: Path) -> None:
    """Every way to write json_file gives the same sorted set."""
    expected = ["a.json", "b.json"]
    assert names_of([f"{shards}/a.json", f"{shards}/b.json"]) == expected
    assert names_of([str(shards)]) == expected
    assert names_of([f"{shards}/"]) == expected
    assert names_of([f"{shards}/*.json"]) == expected
    assert names_of([f"{shards}/[ab].*"]) == expected


def test_a_file_that_is_named_twice_is_read_once(shards: Path) -> None:
    """Overlapping patterns do not double the data."""
    assert names_of([f"{shards}/b.json", str(shards)]) == ["b.json", "a.json"]


def test_a_glob_without_ending_finds_shards(tmp_path: Path) -> None:
    """Shards may be named without .json."""
    for name in ("part-0", "part-1"):
        (tmp_path / name).write_text("{}")
    assert names_of([f"{tmp_path}/part-*"]) == ["part-0", "part-1"]


def test_a_file_name_with_brackets_is_that_file(tmp_path: Path) -> None:
    """A file that exists is taken for itself before it is taken for a pattern."""
    (tmp_path / "labels[1].json").write_text("{}")
    assert names_of([f"{tmp_path}/labels[1].json"]) == ["labels[1].json"]


@pytest.mark.parametrize("pattern", ["missing.json", "*.json", "empty"])
def test_a_pattern_that_names_nothing_is_an_error(tmp_path: Path, pattern: str) -> None:
    """Nothing to read is said, with the pattern's name."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="json_file must be"):
        find_json_files([f"{tmp_path}/{pattern}"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_every_unicode_encoding_reads_alike(tmp_path: Path, encoding: str) -> None:
    """A BOM or wide characters are mended, and counted unless the file is plain UTF-8."""
    path, faults = tmp_path / "a.json", FaultLog()
    path.write_bytes(TEXT.encode(encoding))
    assert read_json_object(path, faults) == json.loads(TEXT)
    assert dict(faults) == ({} if encoding == "utf-8" else {"odd_encoding": 1})


def test_gzip_is_unpacked(tmp_path: Path) -> None:
    """A compressed file is read whatever its name, and counted."""
    path, faults = tmp_path / "a.json", FaultLog()
    path.write_bytes(gzip.compress(TEXT.encode(), mtime=0))
    assert read_json_object(path, faults) == json.loads(TEXT)
    assert dict(faults) == {"compressed_json": 1}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b'{"images": [{"id": 1', "cut off after 20 characters"),
        (b'{"images": ["a', "cut off"),
        (b'{"images": [{"id": 1},', "cut off"),
        (b'{"images": [{"id": 1}', "cut off"),
        (b'{"images": [],}', "not JSON at line 1, column"),
        (b'{"images": [}, "b": 2, "c": 3}', "line 1, column 13"),
        (b"[]", "holds a list"),
        (b"3", "holds int"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\xef\xbb\xbf <?xml?>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (gzip.compress(os.urandom(99), mtime=0)[:-20], "gzip stream is broken"),
        (b'{"a": "\xff\xfe\xfd"}', "must be a text in UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_coco_json_is_named(tmp_path: Path, data: bytes, sentence: str) -> None:
    """The error starts with the file and says what it looks like."""
    path = tmp_path / "labels.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match=sentence) as caught:
        read_json_object(path, FaultLog())
    assert str(caught.value).startswith(str(path))
