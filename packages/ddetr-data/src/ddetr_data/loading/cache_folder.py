"""Where stores are kept; loads nothing, for those who only want to know the folder."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "DDETR_CACHE"


def default_cache_dir() -> Path:
    """$DDETR_CACHE, or else ddetr-data in the user's cache folder."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "ddetr-data"
