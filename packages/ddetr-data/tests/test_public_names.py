"""What the package offers at its top, and that looking costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ddetr_data


def test_every_public_name_is_there() -> None:
    """Each name of __all__ is found in the module that defines it."""
    for name in ddetr_data.__all__:
        assert getattr(ddetr_data, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A slip of the pen is told as for any module."""
    with pytest.raises(AttributeError, match="ddetr_data attribute nothing"):
        ddetr_data.nothing  # noqa: B018


def test_the_import_is_light() -> None:
    """Neither torch nor pycocotools is loaded before it is used."""
    code = (
        "import sys, ddetr_data; ddetr_data.load_sources; ddetr_data.CocoScorer; "
        "print(sorted({'torch', 'pycocotools', 'matplotlib'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
