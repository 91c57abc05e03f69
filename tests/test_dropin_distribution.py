"""ddetr-dropin, the distribution that has the module MultiScaleDeformableAttention and no more."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OPS = Path(__file__).resolve().parent.parent / "packages" / "ddetr-ops"
SOURCES = OPS / "dropin" / "src"
NAME = "MultiScaleDeformableAttention"


def manifest(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))


def run_python(code: str, *paths: Path) -> str:
    """What the code prints in a process that finds these folders first."""
    search = os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": search},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


def test_the_module_is_the_operators() -> None:
    """`import MultiScaleDeformableAttention` gives the two functions, and nothing else."""
    # fault 57
    code = f"""
import {NAME} as MSDA
from ddetr_ops.dropin import original
assert MSDA.ms_deform_attn_forward is original.ms_deform_attn_forward
assert MSDA.ms_deform_attn_backward is original.ms_deform_attn_backward
print(*MSDA.__all__)
"""
    found = run_python(code, SOURCES).split()
    assert found == ["ms_deform_attn_backward", "ms_deform_attn_forward"]


def test_it_goes_before_an_extension_beside_it(tmp_path: Path) -> None:
    """In the same folder Python takes a package first; who installed it has asked for it."""
    (tmp_path / f"{NAME}.py").write_text("raise AssertionError\n")
    (tmp_path / NAME).symlink_to(SOURCES / NAME, target_is_directory=True)
    assert run_python(f"import {NAME}; print({NAME}.__name__)", tmp_path) == NAME


def test_ddetr_ops_brings_no_module_of_that_name_unasked() -> None:
    """Its wheel has one package, and only the extra asks for the distribution."""
    # fault 57
    ops = manifest(OPS)
    assert ops["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["src/ddetr_ops"]
    assert not any("dropin" in line for line in ops["project"]["dependencies"])
    (line,) = ops["project"]["optional-dependencies"]["dropin"]
    name, lowest, above = re.split(r">=|,<", line)
    project = manifest(OPS / "dropin")["project"]
    version = tuple(map(int, project["version"].split(".")))
    assert name == project["name"]
    assert tuple(map(int, lowest.split("."))) <= version < tuple(map(int, above.split(".")))
    (required,) = project["dependencies"]
    assert re.fullmatch(r"ddetr-ops>=\d+\.\d+", required)
    assert (OPS / "dropin" / "LICENSE").read_bytes() == (OPS / "LICENSE").read_bytes()
