"""Which JSON files a source means, and reading one whatever its encoding or packing."""

from __future__ import annotations

import glob
import gzip
import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddetr_data.faults import DataError, FaultLog
from ddetr_data.files import read_regular
from ddetr_data.locations import AnyFile, is_url, match_files

_GZIP_MAGIC = b"\x1f\x8b"
_LFS_MAGIC = b"version https://git-lfs"
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_JSON_ENDINGS = (".json", ".json.gz")
_READ_AT_ONCE_BYTES = 8 * 2**20  # takes a tenth of a second; of larger files the ends are seen
STREAMED_FROM_BYTES = 32 * 2**20  # of which a list of dicts takes 200 MiB
_END_BYTES = 512
_TABLES = ("images", "annotations", "categories")
_LAST_LETTERS = ("}", "]")  # of a whole object or list
_NOT_LABELS = ("status.json",)  # the log that `ddetr convert` leaves beside its shards


def find_json_files(patterns: Sequence[str]) -> tuple[AnyFile, ...]:
    """List the JSON files that files, folders and globs name; sorted within each, none twice.

    Raises:
        FileNotFoundError: a file is missing, a folder holds no JSON or a glob fits nothing.
    """
    found: dict[AnyFile, None] = {}
    for pattern in patterns:
        found.update(dict.fromkeys(_expand(pattern)))
    return tuple(found)


def _expand(pattern: str) -> Sequence[AnyFile]:
    if is_url(pattern):
        return _expand_url(pattern)
    path = Path(pattern).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        named = (file for file in path.iterdir() if file.name.endswith(_JSON_ENDINGS))
        files = sorted(file for file in named if not file.is_dir())
        rule = "a folder with .json files"
    elif glob.has_magic(pattern):
        matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
        files = [match for match in matches if match.is_file()]
        rule = "a pattern that fits at least one file"
    else:
        raise FileNotFoundError(f"json_file must be a file, a folder or a glob, {path} is missing")
    labels = [file for file in files if file.name not in _NOT_LABELS]
    if not labels:
        raise FileNotFoundError(f"json_file must be {rule}, {path} gives none")
    return labels


def _expand_url(pattern: str) -> Sequence[AnyFile]:
    found = [file for file in match_files(pattern, _JSON_ENDINGS) if file.name not in _NOT_LABELS]
    if not found:
        raise FileNotFoundError(
            f"json_file must be a file, a folder with .json files or a glob, {pattern} gives none"
        )
    return found


def refuse_no_json(patterns: Sequence[str]) -> None:
    """Look at the beginning and the end of each file on this machine, in a moment.

    What the labels say is found when they are read, which may be after much has been loaded.

    Raises:
        DataError: a file is no JSON object: a page, an image, cut off, empty.
    """
    for file in find_json_files([each for each in patterns if not is_url(each)]):
        if isinstance(file, Path) and file.stat().st_size <= _READ_AT_ONCE_BYTES:
            read_json_object(file, FaultLog())
        elif isinstance(file, Path):
            _refuse_odd_ends(file)


def _refuse_odd_ends(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(_END_BYTES)
        file.seek(-_END_BYTES, io.SEEK_END)
        end = file.read()
    if start.startswith((_GZIP_MAGIC, *_BYTE_ORDER_MARKS)) or b"\0" in start[:4]:
        return  # packed, or of an encoding of its own
    _refuse_strangers(path, start)
    if not start.lstrip().startswith(b"{"):
        raise DataError(f"{path} must hold a JSON object, it begins with {start.lstrip()[:20]!r}")
    if not end.rstrip().endswith(b"}"):
        raise DataError(f"{path} is cut off: copy or download it again")


def read_json_object(
    path: AnyFile, faults: FaultLog, *, streamed_from_bytes: int = STREAMED_FROM_BYTES
) -> dict[str, Any]:
    """Read the JSON object in a file, plain or gzipped, in any Unicode encoding.

    Annotations of a large file are a RowTable and its images PackedRows, if all is plain there.

    Args:
        path: the file.
        faults: gets what is odd about its form.
        streamed_from_bytes: smaller files are read at once.

    Raises:
        DataError: the file holds something else; the text says what it looks like.
    """
    if isinstance(path, Path) and path.is_file() and path.stat().st_size >= streamed_from_bytes:
        from ddetr_data.coco._json_stream import read_plain_object  # loads NumPy

        keys = _RepeatedKeys()
        with path.open("rb") as file:
            streamed = read_plain_object(file, keys.join)
        if streamed is not None and not keys.found:
            return streamed
    return _read_at_once(path, faults)


def _read_at_once(path: AnyFile, faults: FaultLog) -> dict[str, Any]:
    stored = read_regular(path) if isinstance(path, Path) else path.read_bytes()
    data = _unpacked(path, stored, faults)
    _refuse_strangers(path, data)
    encoding = json.detect_encoding(data)
    if encoding != "utf-8" or data.startswith(_BYTE_ORDER_MARKS):
        faults.add("odd_encoding", str(path))
    try:
        keys = _RepeatedKeys()
        content = json.loads(data.decode(encoding), object_pairs_hook=keys.join)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} must be a text in UTF-8, byte {error.start} is not") from error
    except json.JSONDecodeError as error:
        raise DataError(_explain(path, error)) from error
    except ValueError as error:  # Python reads no numbers of thousands of digits
        raise DataError(f"{path} must be COCO JSON, it cannot be read: {error}") from error
    except RecursionError as error:
        raise DataError(f"{path} must be COCO JSON, it is nested too deeply for that") from error
    faults.add_rows("repeated_key", str(path), iter(keys.found), len(keys.found))
    if isinstance(content, list):
        raise DataError(
            f"{path} must hold an object with images, annotations and categories, it holds a list "
            "(a list of detections is a result, not ground truth)"
        )
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object, it holds {type(content).__name__}")
    return content


class _RepeatedKeys:
    """Makes dicts of JSON objects, in which a key that stands twice loses no rows."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def join(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Give the dict; of a repeated key lists are joined, else the last value is taken."""
        content = dict(pairs)
        if len(content) == len(pairs):
            return content
        joined: dict[str, Any] = {}
        for key, value in pairs:
            if key in joined:
                self.found.append(f"key {key!r}")
            known = joined.get(key)
            is_table = key in _TABLES and isinstance(known, list) and isinstance(value, list)
            joined[key] = known + value if is_table and known is not None else value
        return joined


def _unpacked(path: AnyFile, data: bytes, faults: FaultLog) -> bytes:
    if not data.startswith(_GZIP_MAGIC):
        return data
    faults.add("compressed_json", str(path))
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} must be whole, its gzip stream is broken: {error}") from error


def _refuse_strangers(path: AnyFile, data: bytes) -> None:
    """Name the usual files that are no JSON: a parser would only say "Expecting value"."""
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(_LFS_MAGIC):
        raise DataError(f"{path} is a Git LFS pointer, fetch the file itself with `git lfs pull`")
    if start.startswith(b"<"):
        raise DataError(f"{path} is a web page or XML, not JSON; download the file again")
    if not data.strip():
        raise DataError(f"{path} must be COCO JSON, it is empty")


def _explain(path: AnyFile, error: json.JSONDecodeError) -> str:
    """Say whether the file was cut off, or else where it stops being JSON."""
    text = error.doc.rstrip()
    is_at_end = error.pos >= len(text) - (text[-1:] not in _LAST_LETTERS)
    if is_at_end or error.msg.startswith("Unterminated"):
        return f"{path} is cut off after {len(error.doc)} characters; copy or download it again"
    where = f"line {error.lineno}, column {error.colno}"
    return f"{path} is not JSON at {where}: {error.msg}; mend it there, or give another"
