"""Names that file systems take: at most 255 bytes between two slashes."""

from __future__ import annotations

import hashlib
import os

LONGEST_NAME = 255  # bytes
_DIGEST_BYTES = 4


def fitting_name(stem: str, ending: str) -> str:
    """Join both, or, where that is too long, the beginning and a digest of the stem."""
    if len(os.fsencode(stem + ending)) <= LONGEST_NAME:
        return stem + ending
    digest = hashlib.blake2b(os.fsencode(stem), digest_size=_DIGEST_BYTES).hexdigest()
    room = LONGEST_NAME - len(os.fsencode(f"~{digest}{ending}"))
    return f"{os.fsencode(stem)[:room].decode(errors='ignore')}~{digest}{ending}"
