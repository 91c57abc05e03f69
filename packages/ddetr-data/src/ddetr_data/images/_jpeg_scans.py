"""How often a JPEG paints over all of its pixels.

A progressive JPEG is made of scans, usually ten. A scan may be a hundred bytes long and costs as
much time as any: a small file of many of them takes hours.
"""

from __future__ import annotations

import os
import re
from typing import IO

__all__ = ["has_more_scans"]

# Stuffed zeros, restarts and fill bytes belong to a scan; any other marker ends it.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_START_OF_SCAN, _END_OF_IMAGE, _START_OF_IMAGE = 0xDA, 0xD9, 0xD8


def has_more_scans(file: IO[bytes], most: int) -> bool:
    """Whether a JPEG's first image has more scans than that; the file's position stays."""
    position = file.tell()
    file.seek(0, os.SEEK_SET)
    content = file.read()
    file.seek(position)
    scans, marker = 0, _MARKER.search(content)
    while marker is not None and content[marker.start() + 1] != _END_OF_IMAGE:
        kind, after = content[marker.start() + 1], marker.end()
        scans += kind == _START_OF_SCAN
        if scans > most:
            return True
        if kind != _START_OF_IMAGE:  # a segment: its length, and what it holds
            after += int.from_bytes(content[after : after + 2], "big")
        marker = _MARKER.search(content, after)
    return False
