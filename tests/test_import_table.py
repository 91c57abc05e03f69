"""The borders between the packages, read from every import statement."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGES = Path(__file__).resolve().parent.parent / "packages"

# Who may import whom; ddetr_export reaches the model only through its extra [torch].
ALLOWED_SIBLINGS = {
    "ddetr_ops": set(),
    "ddetr_data": set(),
    "ddetr_model": {"ddetr_ops"},
    "ddetr_train": {"ddetr_model", "ddetr_data"},
    "ddetr_export": {"ddetr_data", "ddetr_model"},
    "ddetr_cli": {"ddetr_ops", "ddetr_data", "ddetr_model", "ddetr_train", "ddetr_export"},
    "ddetr": {"ddetr_cli"},  # a name for Python code, in the wheel of ddetr-cli
}
BROUGHT_BY_EXPORTING = {"ddetr-model", "onnx", "onnxscript", "protobuf", "torch"}
LOADS_NO_TORCH = [name for name in ALLOWED_SIBLINGS if name != "ddetr_ops"]
# Distributions whose module has another name, or that arrive with a declared one.
MODULES_OF = {
    "pillow": {"PIL"},
    "protobuf": {"google"},
    "cuda-python": {"cuda"},
    "pyyaml": {"yaml"},
    "pytorch-lightning": {"pytorch_lightning", "lightning_fabric", "lightning_utilities"},
    "faster-coco-eval": {"faster_coco_eval"},
    "opencv-python-headless": {"cv2"},
    "av": {"av"},
}


def package_of(module: str) -> Path:
    return PACKAGES / ("ddetr-cli" if module == "ddetr" else module.replace("_", "-"))


def source_files(module: str) -> list[Path]:
    found = sorted((package_of(module) / "src" / module).rglob("*.py"))
    assert found, module
    return found


def imported_modules(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, top-level module) of each import in the file, those in functions too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield node.lineno, str(node.module).split(".")[0]


def declared_modules(module: str) -> set[str]:
    """Name what a package's manifest lets it import: its dependencies and its extras."""
    manifest = tomllib.loads((package_of(module) / "pyproject.toml").read_text("utf-8"))
    project = manifest["project"]
    extras = project.get("optional-dependencies", {}).values()
    requirements = project["dependencies"] + [line for extra in extras for line in extra]
    names = [re.split(r"[\s<>=!~\[;]", line, maxsplit=1)[0].lower() for line in requirements]
    return {found for name in names for found in MODULES_OF.get(name, {name.replace("-", "_")})}


@pytest.mark.parametrize("module", ALLOWED_SIBLINGS)
def test_siblings_are_imported_only_along_the_arrows(module: str) -> None:
    """Every import of another package of ours stands in the table."""
    for path in source_files(module):
        for line, name in imported_modules(path):
            if name in ALLOWED_SIBLINGS and name != module:
                assert name in ALLOWED_SIBLINGS[module], f"{path}:{line} imports {name}"


@pytest.mark.parametrize("module", ALLOWED_SIBLINGS)
def test_every_import_is_a_declared_dependency(module: str) -> None:
    """A third party's module is imported only where the manifest names it."""
    allowed = declared_modules(module) | set(sys.stdlib_module_names) | {module}
    allowed |= {"ddetr_cli"} if module == "ddetr" else set()
    for path in source_files(module):
        for line, name in imported_modules(path):
            assert name in allowed, f"{path}:{line} imports {name}, which is not declared"


def test_the_runtime_of_exported_files_requires_no_onnx() -> None:
    """ONNX comes with what exports; ONNX Runtime alone reads files and what they say."""
    manifest = (PACKAGES / "ddetr-export" / "pyproject.toml").read_text("utf-8")
    project = tomllib.loads(manifest)["project"]
    required = {re.split(r"[\[<>=]", line)[0] for line in project["dependencies"]}
    assert "onnxruntime" in required
    assert required.isdisjoint(BROUGHT_BY_EXPORTING)
    of_extra = {re.split(r"[\[<>=]", line)[0] for line in project["optional-dependencies"]["torch"]}
    assert of_extra == BROUGHT_BY_EXPORTING


@pytest.mark.parametrize("module", LOADS_NO_TORCH)
def test_importing_a_package_loads_no_torch(module: str) -> None:
    """The import of a package, and of its config, leaves the heavy libraries alone."""
    config = "" if module in ("ddetr", "ddetr_cli") else f"import {module}.config;"
    heavy = "{'torch', 'pytorch_lightning', 'onnx', 'onnxruntime', 'scipy', 'pycocotools'}"
    code = f"import sys, {module}; {config} print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
