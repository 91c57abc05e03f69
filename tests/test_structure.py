"""The structure of the six packages: faces, wings, arrows; read from every import.

A wing is a folder of modules. It is entered through its face, the names of its `__all__`.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from import_graph import (
    ROOT,
    SOURCES,
    all_of,
    homes,
    imports_of,
    is_face,
    is_wing,
    modules,
    names_of_face,
    names_taken,
    tree_of,
    unit_graph,
    unit_of,
)

# Each module of these is a face of its own, loaded when its subtask is asked for.
LOADED_ONE_BY_ONE = {"ddetr_cli.commands"}
PATCHING = ("setattr", "setitem", "delattr", "patch")
TESTS = [path for pattern in ("packages/*/tests", "tests", "proofs") for path in ROOT.glob(pattern)]


@pytest.mark.parametrize("package", SOURCES)
def test_a_sibling_is_entered_through_a_face(package: str) -> None:
    """Another package is imported as a whole or by a wing, and only names of its __all__."""
    past = [
        f"{path}:{line} takes {name or 'the module'} of {module}"
        for own, path in modules().items()
        if own.split(".")[0] == package
        for line, module, name in imports_of(path)
        if module.split(".")[0] != package
        and not (is_face(module) and (not name or name in names_of_face(module)))
    ]
    assert past == []


@pytest.mark.parametrize("package", SOURCES)
def test_a_wing_is_entered_through_its_face(package: str) -> None:
    """Within a package too: only a wing's own modules import its modules."""
    past = [
        f"{path}:{line} takes {name or 'the module'} of {module}"
        for own, path in modules().items()
        if own.split(".")[0] == package
        for line, module, name in imports_of(path)
        if module.split(".")[0] == package
        and is_wing(unit_of(module))
        and unit_of(module) not in LOADED_ONE_BY_ONE
        and unit_of(own) != unit_of(module)
        and not (is_face(module) and name in names_of_face(module))
    ]
    assert past == []


@pytest.mark.parametrize("face", [name for name in modules() if is_face(name)])
def test_a_face_shows_what_it_lists(face: str) -> None:
    """Each name of __all__ is imported or found on first use, and none beside them."""
    listed = names_of_face(face)
    if face in LOADED_ONE_BY_ONE:
        assert listed == set()
        return
    defined = {
        node.name for node in tree_of(modules()[face]).body if isinstance(node, ast.FunctionDef)
    }
    assert {name for name, _ in homes(face)} | (defined & listed) == listed


@pytest.mark.parametrize("wing", [name for name in modules() if is_wing(name)])
def test_what_only_its_wing_uses_is_private_by_name(wing: str) -> None:
    """A module begins with an underscore exactly where the face shows none of its names."""
    if wing in LOADED_ONE_BY_ONE or wing.split(".")[-1].startswith("_"):  # wholly private
        return
    shown = {home for _, home in homes(wing)}
    inside = [name for name in modules() if name.startswith(f"{wing}.")]
    wrong = [
        name
        for name in inside
        if not is_face(name) and name.split(".")[-1].startswith("_") == (name in shown)
    ]
    assert wrong == []


def test_the_module_ddetr_is_a_name_alone() -> None:
    """Its stub takes each name of its __all__ from the one wing, which gives no others."""
    source = ROOT / "packages/ddetr-cli/src/ddetr/__init__.py"
    stub = ast.parse(source.with_suffix(".pyi").read_text("utf-8"))
    listed = all_of(ast.parse(source.read_text("utf-8")))
    assert {each.name for each in names_taken(stub, {"ddetr_cli"})} == listed
    assert {each.module for each in names_taken(stub, {"ddetr_cli"})} == {"ddetr_cli.from_python"}
    assert listed == names_of_face("ddetr_cli.from_python")


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Name a circle of the graph, or nothing."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_arrows_run_down_between_modules() -> None:
    """No module reaches itself through what it imports."""
    edges: dict[str, set[str]] = defaultdict(set)
    for own, path in modules().items():
        edges[own] |= {each.module for each in imports_of(path) if each.module != own}
        if is_face(own):  # a package's face names its wings in its stub
            edges[own] |= {home for _, home in homes(own) if home in modules()}
    assert circle(edges) == []


@pytest.mark.parametrize("package", SOURCES)
def test_arrows_run_down_between_wings(package: str) -> None:
    """No wing reaches itself through what its modules import."""
    assert circle(unit_graph(package)) == []


def private_names(path: Path) -> Iterator[str]:
    """Yield file and line wherever a test reaches behind a face: an import, or a patched name."""
    ours: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = getattr(node, "module", None) or ""
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                if whole.strip(".").split(".")[0] in SOURCES:
                    ours.add((alias.asname or alias.name).split(".")[0])
                    if re.search(r"\._[a-z]", whole, re.IGNORECASE):
                        yield f"{path}:{node.lineno} imports {whole}"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute) and re.match(r"_[^_]", node.attr):
            root = node.value
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name) and root.id in ours:
                yield f"{path}:{node.lineno} takes {node.attr}"
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in (
            "setattr",
            "setitem",
            "delattr",
            "patch",
        ):
            for argument in node.args[:2]:
                text = argument.value if isinstance(argument, ast.Constant) else ""
                if isinstance(text, str) and re.search(r"(^|\.)_[a-z]", text, re.IGNORECASE):
                    yield f"{path}:{node.lineno} patches {text}"


@pytest.mark.parametrize("folder", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_reach_into_no_private_name(folder: Path) -> None:
    """Tests and proofs use what a user has: faces, public modules, and parameters."""
    assert [text for path in sorted(folder.rglob("*.py")) for text in private_names(path)] == []
