"""The SHA-256 of an exported file, kept in the file itself, so that damage is seen when it is read.

The digest is that of the file's bytes with zeros instead of its own 64 hexadecimal digits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_KEY = "ddetr.sha256"
_NEAR = 0.7  # of get_close_matches: up to three of the key's letters differ
_ZEROS = b"0" * 64
# The end of the metadata entry's key, then the tag and the length of its value, as protobuf writes.
_BEFORE = _KEY.encode() + bytes([2 << 3 | 2, len(_ZEROS)])


def seal(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put the digest of the model's bytes into its own metadata; gives the same model.

    Whatever changes the model afterwards has to seal it again.
    """
    kept = [entry for entry in model.metadata_props if entry.key != _KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    entry = model.metadata_props.add(key=_KEY, value=_ZEROS.decode())
    entry.value = hashlib.sha256(model.SerializeToString()).hexdigest()
    return model


def check_digest(content: bytes, source: Path) -> None:
    """Compare a file's bytes with the digest that they hold; a file without one passes.

    Raises:
        ValueError: the bytes are not those that were written.
    """
    start = content.rfind(_BEFORE) + len(_BEFORE)
    if start < len(_BEFORE):
        return  # see check_digest_name
    view, end = memoryview(content), start + len(_ZEROS)
    digest = hashlib.sha256(view[:start])
    digest.update(_ZEROS)
    digest.update(view[end:])
    if digest.hexdigest().encode() != view[start:end]:
        raise ValueError(
            f"{source} is damaged: its bytes are not those of its SHA-256; copy it again or export "
            f"again, or, where another tool has changed it on purpose, remove its metadata {_KEY}"
        )


def check_digest_name(keys: Collection[str], source: Path) -> None:
    """Look for a digest whose own name is damaged, so that check_digest has not found it.

    Args:
        keys: Of the file's metadata.
        source: What the error calls the file.

    Raises:
        ValueError: a key is nearly the digest's.
    """
    near = get_close_matches(_KEY, keys, n=1, cutoff=_NEAR)
    if near and _KEY not in keys:
        raise ValueError(
            f"{source} is damaged: its metadata have {near[0]!r} instead of {_KEY}; copy it again "
            "or export again"
        )
