"""Names that a package uses of a sibling, and versions of the sibling that lack them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache, partial
from typing import NamedTuple

from import_graph import all_of, names_taken
from packaging.version import Version

from releasing.programs import ReleaseError
from releasing.repository import Package, Repository, tag_of
from releasing.texts import read_text


class Use(NamedTuple):
    """A name of a sibling's face, in a file of a package; "" for the face itself."""

    user: str
    source: str  # file and line
    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module


@cache
def uses(repository: Repository, package: Package, sibling: Package) -> tuple[Use, ...]:
    """List what a package's modules take of a sibling, as they are on disk."""
    found = []
    for path in package.tracked("src/*.py*"):
        text = read_text(path) if path.suffix in (".py", ".pyi") else ""
        if sibling.module not in text:
            continue
        where = path.relative_to(repository.root)
        tree = _parsed(text, str(where))
        taken = [*names_taken(tree, {sibling.module}), *_attributes(tree, sibling)]
        taken += _imported_by_name(tree, sibling)
        found += [Use(package.name, f"{where}:{line}", *names) for line, *names in taken]
    return tuple(found)


def _parsed(text: str, where: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:  # the latter of a zero byte
        line = getattr(error, "lineno", None) or 1
        raise ReleaseError(f"{where}:{line} is no Python: {getattr(error, 'msg', error)}") from None


def _imported_by_name(tree: ast.Module, sibling: Package) -> Iterator[tuple[int, str, str]]:
    """Yield modules of a sibling that are imported late: import_module("ddetr_ops.x")."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            name = str(node.args[0].value)
            if called in ("import_module", "__import__") and name.split(".")[0] == sibling.module:
                yield node.lineno, name, ""


def _attributes(tree: ast.Module, sibling: Package) -> Iterator[tuple[int, str, str]]:
    """Yield what is taken as an attribute of a sibling's module: x of `ddetr_ops.x`."""
    modules = _modules_named(tree, sibling)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        names: list[str] = []
        part: ast.expr = node
        while isinstance(part, ast.Attribute):
            names.insert(0, part.attr)
            part = part.value
        if isinstance(part, ast.Name) and part.id in modules:
            module = modules[part.id]
            while names and _is_module(sibling, f"{module}.{names[0]}"):
                module = f"{module}.{names.pop(0)}"
            if names and not names[0].startswith("__"):
                yield node.lineno, module, names[0]


def _modules_named(tree: ast.Module, sibling: Package) -> dict[str, str]:
    """Give the names under which a file has modules of a sibling."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == sibling.module:
                    found[alias.asname or sibling.module] = (
                        alias.name if alias.asname else sibling.module
                    )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if _is_module(sibling, whole):
                    found[alias.asname or alias.name] = whole
    return found


def _is_module(sibling: Package, name: str) -> bool:
    path = sibling.folder / "src" / name.replace(".", "/")
    return name.split(".")[0] == sibling.module and (
        path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
    )


def lacking(
    repository: Repository,
    package: Package,
    sibling: Package,
    version: Version,
    is_made: bool = False,
) -> Iterator[Use]:
    """Yield what a package takes of a sibling that one version of it does not give.

    Raises:
        ReleaseError: the version has no tag here, and is not the one that is being made.
    """
    revision = tag_of(sibling.name, version)
    if version not in repository.tagged(sibling.name):
        if version != sibling.stated and not is_made:
            raise ReleaseError(
                f"{package.name} requires {sibling.name} from {version}, and the tag {revision} "
                f"is not here: get it with `git fetch --tags`"
            )
        revision = "HEAD"  # it is not released yet
    given = partial(_given, repository, revision, sibling)
    seen = set()
    for use in uses(repository, package, sibling):
        if str(use) not in seen and not given(use.module, use.name):
            yield use
        seen.add(str(use))


def lowest_with_all(
    repository: Repository, package: Package, sibling: Package, floor: Version
) -> Version | None:
    """Give the lowest release above a floor that has all that a package uses, if one is tagged."""
    for version in repository.tagged(sibling.name):
        released = version > floor and not version.is_prerelease
        if released and not any(lacking(repository, package, sibling, version)):
            return version
    return None


def _given(repository: Repository, revision: str, sibling: Package, module: str, name: str) -> bool:
    """Tell whether a module of a revision has a name: in its __all__, or as a module below it."""
    folder = (sibling.folder / "src").relative_to(repository.root).as_posix()
    if name and _face(repository, revision, folder, f"{module}.{name}") is not None:
        return True
    listed = _face(repository, revision, folder, module)
    every = not name or name == "*" or name.startswith("__")  # what each module has
    return listed is not None and (every or name in listed)


@cache
def _face(repository: Repository, revision: str, folder: str, module: str) -> frozenset[str] | None:
    """Give the __all__ of a module as it was, or None where there is no such module."""
    path = f"{folder}/{module.replace('.', '/')}"
    for name in (f"{path}/__init__.py", f"{path}.py"):
        if name in _files(repository, revision, folder):
            where = f"{name} at {revision}"
            tree = _parsed(repository.git("show", f"{revision}:{name}"), where)
            try:
                return all_of(tree)
            except (TypeError, ValueError):
                raise ReleaseError(f"{where} has an __all__ that is no list of names") from None
    return None


@cache
def _files(repository: Repository, revision: str, folder: str) -> frozenset[str]:
    listed = repository.git("ls-tree", "-r", "--name-only", revision, f"{folder}/")
    return frozenset(listed.splitlines())
