"""Builds the native part of ddetr-ops with CMake and ninja while hatchling packs the wheel.

A wheel carries the library inside; an editable install leaves it in src/ddetr_ops/. Nothing is ever
compiled at import, and neither torch nor a GPU is needed here. Environment variables decide:

    DDETR_OPS_PURE=1       no native part: a wheel for every platform, slow but complete
    DDETR_OPS_PURE=0       a native part also on Windows, where nobody has tried to build one
    DDETR_OPS_CUDA=0       CPU kernels only, also if nvcc is found
    DDETR_OPS_CUDA=1       CUDA kernels for all architectures; an error without nvcc
    DDETR_OPS_CUDA=pypi    the same, with the CUDA compiler from the package index
    (unset)                a native part except on Windows; CUDA kernels if nvcc is found, for few
                           architectures: see AUTOMATIC
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_BUILD_TOOLS = ("cmake>=3.24", "ninja>=1.11", "pybind11>=2.13")
_COMPILER_FROM_INDEX = tuple(
    f"nvidia-{part}==13.*"
    for part in ("cuda-nvcc", "cuda-crt", "nvvm", "cuda-runtime", "cuda-cccl")
)
# A release has code for every current GPU and PTX for later ones. A build on the spot is for this
# machine's GPUs; without one it stays short: Ampere, Hopper, and PTX that drivers can translate.
RELEASE = "75-real;80-real;86-real;89-real;90-real;100-real;120"
AUTOMATIC = "75-virtual;80-real;90-real"
BEFORE_CUDA_13 = "70-real"  # Volta, which CUDA 13 no longer compiles for


class NativeBuildHook(BuildHookInterface):
    """Compiles _core and puts it into the wheel or, for an editable install, beside the sources."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Build requirements beyond pyproject.toml's: none for a wheel without a native part."""
        if self.target_name != "wheel" or not _is_native_here():
            return []
        return [*_BUILD_TOOLS, *(_COMPILER_FROM_INDEX if _choice() == "pypi" else ())]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build before the files are collected; `version` is "editable" or "standard"."""
        if self.target_name != "wheel":
            return
        package = Path(self.root) / "src" / "ddetr_ops"
        if version == "editable":
            for stale in libraries_in(package):
                stale.unlink()
        if not _is_native_here():
            why = "DDETR_OPS_PURE is set" if "DDETR_OPS_PURE" in os.environ else "this is Windows"
            self.app.display_warning(f"ddetr-ops: {why}, so without native kernels")
            return
        self._folder = tempfile.TemporaryDirectory(prefix="ddetr-ops-")
        output = package if version == "editable" else Path(self._folder.name) / "native"
        self._compile(Path(self._folder.name), output)
        (library,) = libraries_in(output)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        if version != "editable":
            build_data["force_include"][str(library)] = f"ddetr_ops/{library.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the build folder once the wheel is packed."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()

    def _compile(self, folder: Path, output: Path) -> None:
        cuda = cuda_arguments()
        self.app.display_info(f"ddetr-ops: {'CPU and CUDA' if cuda else 'CPU only (no nvcc)'}")
        configure = [
            *("cmake", "-S", self.root, "-B", str(folder), "-G", "Ninja"),
            f"-DDDETR_OPS_OUTPUT={output}",
            f"-DPython_EXECUTABLE={sys.executable}",
            *cuda,
        ]
        for command in (configure, ["cmake", "--build", str(folder)]):
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                self.app.abort(
                    f"{result.stdout}\n{result.stderr}\nddetr-ops: the native part does not build "
                    "(it needs a C++17 compiler; DDETR_OPS_PURE=1 installs without it)"
                )


def is_native(platform: str, variables: Mapping[str, str]) -> bool:
    """Whether a wheel for sys.platform has a native part, given the environment's variables."""
    asked = variables.get("DDETR_OPS_PURE", "")
    return asked == "0" or (asked == "" and platform != "win32")


def libraries_in(folder: Path) -> list[Path]:
    """The compiled modules there, by the names that Linux, macOS and Windows give them."""
    return [path for path in folder.glob("_core.*") if path.suffix in (".so", ".pyd")]


def cuda_arguments() -> list[str]:
    """What CMake needs to build CUDA kernels; nothing for a CPU-only build."""
    choice = _choice()
    if choice == "0":
        return []
    if choice == "pypi":
        return _compiler_from_index()
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        if choice == "1":
            raise FileNotFoundError("DDETR_OPS_CUDA=1, but there is no nvcc; pypi would bring one")
        return []
    architectures = _release(nvcc) if choice == "1" else (_architectures_here() or AUTOMATIC)
    return _with_compiler(nvcc, architectures)


def release_architectures(nvcc_version: str) -> str:
    """What a release is compiled for, as CMake writes it, by what `nvcc --version` says."""
    release = re.search(r"release (\d+)\.", nvcc_version)
    return f"{BEFORE_CUDA_13};{RELEASE}" if release and int(release[1]) < 13 else RELEASE


def _is_native_here() -> bool:
    return is_native(sys.platform, os.environ)


def _choice() -> str:
    choice = os.environ.get("DDETR_OPS_CUDA", "auto")
    if choice not in ("auto", "0", "1", "pypi"):
        raise ValueError(f"DDETR_OPS_CUDA must be 0, 1, pypi or unset, got {choice!r}")
    return choice


def _compiler_from_index() -> list[str]:
    spec = importlib.util.find_spec("nvidia.cu13")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("DDETR_OPS_CUDA=pypi, but the nvidia-cuda-nvcc wheel is missing")
    root = Path(next(iter(spec.submodule_search_locations)))
    return [
        *_with_compiler(str(root / "bin" / "nvcc"), RELEASE),
        f"-DCUDAToolkit_ROOT={root}",
        f"-DCMAKE_CUDA_FLAGS=-L{root / 'lib'}",
    ]


def _with_compiler(nvcc: str, architectures: str) -> list[str]:
    chosen = os.environ.get("DDETR_OPS_CUDA_ARCHITECTURES", architectures)
    return [
        "-DDDETR_OPS_CUDA=ON",
        f"-DCMAKE_CUDA_COMPILER={nvcc}",
        f"-DCMAKE_CUDA_ARCHITECTURES={chosen}",
    ]


def _release(nvcc: str) -> str:
    try:
        said = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=False)
    except OSError:  # CMake will say what is wrong with it
        return RELEASE
    return release_architectures(said.stdout)


def _architectures_here() -> str:
    """The architectures of this machine's GPUs, as CMake writes them; empty without a GPU."""
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    result = subprocess.run(query, capture_output=True, text=True, check=False)
    if result.returncode:
        return ""
    return ";".join(sorted({line.replace(".", "").strip() for line in result.stdout.splitlines()}))
