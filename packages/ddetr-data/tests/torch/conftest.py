"""These tests need the extra [torch]; where it is not installed they are left out."""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("torchvision") is None:
    collect_ignore_glob = ["test_*.py"]
