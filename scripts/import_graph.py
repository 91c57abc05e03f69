"""Who imports what among the six packages, read from their sources without importing them.

A package is divided into units: wings, which are folders of modules with a face, and modules.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Container, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {folder.name: folder for folder in sorted(ROOT.glob("packages/*/src/ddetr_*"))}


class Imported(NamedTuple):
    """One name that a file takes from a module of ours; "" for the module itself."""

    line: int
    module: str
    name: str


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def modules() -> dict[str, Path]:
    """Every module by its dotted name; a wing's and a package's face stand under theirs."""
    found = {}
    for package, folder in SOURCES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


def imports_of(path: Path) -> Iterator[Imported]:
    """Yield what a file takes from our packages, in functions and for type checkers too."""
    for line, module, name in names_taken(tree_of(path), SOURCES):
        whole = f"{module}.{name}"
        yield Imported(line, *((whole, "") if whole in modules() else (module, name)))


def names_taken(tree: ast.Module, packages: Container[str]) -> Iterator[Imported]:
    """Yield what a module imports from some packages, each name as it is written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in packages:
                    yield Imported(node.lineno, alias.name, "")
        elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in packages:
            yield from (Imported(node.lineno, str(node.module), each.name) for each in node.names)


def is_face(module: str) -> bool:
    return modules()[module].name == "__init__.py"


@cache
def names_of_face(module: str) -> frozenset[str]:
    """Read __all__ of a package or a wing."""
    return all_of(tree_of(modules()[module]))


def all_of(tree: ast.Module) -> frozenset[str]:
    """Read a module's __all__; nothing where it has none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return frozenset(ast.literal_eval(node.value))
    return frozenset()


def unit_of(module: str) -> str:
    """The wing that a module belongs to; a module outside of all wings is a unit itself."""
    return ".".join(module.split(".")[:2])


def is_wing(unit: str) -> bool:
    return "." in unit and unit in modules() and is_face(unit)


def homes(face: str) -> Iterator[tuple[str, str]]:
    """Yield (name, module that has it) of a face, from its imports or its stub.

    A module that the face shows as a whole has its own name.
    """
    path = modules()[face]
    stub = path.with_suffix(".pyi")
    for node in tree_of(stub if stub.is_file() else path).body:
        if isinstance(node, ast.ImportFrom) and (node.level or str(node.module).startswith(face)):
            home = f"{face}.{node.module}" if node.level else str(node.module)
            for alias in node.names:
                whole = f"{home}.{alias.name}"
                yield alias.asname or alias.name, whole if whole in modules() else home


def unit_graph(package: str) -> dict[str, set[str]]:
    """Give for each unit of a package the others of it that its modules import."""
    edges: dict[str, set[str]] = defaultdict(set)
    for own, path in modules().items():
        if own.split(".")[0] == package and own != package:
            reached = {unit_of(each.module) for each in imports_of(path)} - {unit_of(own)}
            edges[unit_of(own)] |= {unit for unit in reached if unit.split(".")[0] == package}
    return edges


def package_graph() -> dict[str, set[str]]:
    """Give for each package the siblings that its modules import."""
    edges: dict[str, set[str]] = {package: set() for package in SOURCES}
    for own, path in modules().items():
        package = own.split(".")[0]
        edges[package] |= {each.module.split(".")[0] for each in imports_of(path)} - {package}
    return edges
