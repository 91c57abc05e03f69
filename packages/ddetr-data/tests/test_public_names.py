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
    assert set(ddetr_data.__all__) == {*ddetr_data._HOME, "__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A slip of the pen is told as for any module."""
    with pytest.raises(AttributeError, match="'ddetr_data' has no attribute 'nothing'"):
        ddetr_data.nothing  # noqa: B018


MODULE = "from ddetr_data.preprocess import open_image; import ddetr_data.evaluation"
PACKAGE = "from ddetr_data import preprocess; import ddetr_data; ddetr_data.PreprocessConfig"
STAR = "from ddetr_data import *"


@pytest.mark.parametrize(
    "statements", [(MODULE, PACKAGE), (PACKAGE, MODULE), (MODULE, STAR), (STAR, MODULE), (STAR,)]
)
def test_a_function_is_not_hidden_by_the_module_of_its_name(statements: tuple[str, ...]) -> None:
    """Whatever was imported first, the package's name is the function."""
    code = "; ".join(
        [
            *statements,
            "import sys, types, ddetr_data",
            "assert isinstance(ddetr_data.preprocess, types.FunctionType), ddetr_data.preprocess",
            "assert isinstance(preprocess if 'preprocess' in dir() else ddetr_data.preprocess, "
            "types.FunctionType)",
            "from ddetr_data.preprocess import normalize, preprocess as the_same",
            "assert the_same is ddetr_data.preprocess",
            "assert isinstance(sys.modules['ddetr_data.preprocess'], types.ModuleType)",
            "clashes = [n for n in ddetr_data.__all__ "
            "if isinstance(getattr(ddetr_data, n), types.ModuleType)]",
            "assert clashes == [], clashes",
        ]
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_import_is_light() -> None:
    """Neither torch nor pycocotools is loaded before it is used."""
    code = (
        "import sys, ddetr_data; ddetr_data.load_sources; ddetr_data.CocoScorer; "
        "print(sorted({'torch', 'pycocotools', 'matplotlib'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
