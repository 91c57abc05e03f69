"""The repository that is released from: what git says of it, and the packages in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from packaging.version import InvalidVersion, Version

from releasing.ranges import Range, sibling_ranges

# Whoever is required comes first; among those that may come next, in this order.
ORDER = ("ddetr-ops", "ddetr-data", "ddetr-model", "ddetr-train", "ddetr-export", "ddetr-cli")
# Set where git calls this from a hook, and of another repository or index than the one named here.
FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")


class ReleaseError(ValueError):
    """A release that may not be made, or cannot be; the text is one sentence."""


def run(*words: str, cwd: Path) -> str:
    """Run a program and give what it printed.

    Raises:
        ReleaseError: it is missing, or it fails; the text has what it said.
    """
    if shutil.which(words[0]) is None:
        raise ReleaseError(f"{words[0]} is not on the PATH")
    environment = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    done = subprocess.run(
        words,
        cwd=cwd,
        env=environment | {"LC_ALL": "C.UTF-8"},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        told = " ".join((done.stderr.strip() or done.stdout).split())
        raise ReleaseError(f"{' '.join(words[:2])} fails: {told or f'status {done.returncode}'}")
    return done.stdout


@dataclass(frozen=True)
class Package:
    """One of the packages: a folder with src/, a version, a changelog and a manifest."""

    name: str
    folder: Path

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")

    @property
    def about(self) -> Path:
        """The only file that states the version."""
        return self.folder / "src" / self.module / "__about__.py"

    @property
    def manifest(self) -> Path:
        return self.folder / "pyproject.toml"

    @property
    def stated(self) -> Version:
        """The version that __about__ states."""
        found = None
        if self.about.is_file():
            found = re.search(r'__version__ = "(.+)"', self.about.read_text("utf-8"))
        if found is None:
            raise ReleaseError(f"{self.about} states no version")
        try:
            return Version(found[1])
        except InvalidVersion:
            raise ReleaseError(f"{self.about} states {found[1]}, which is no version") from None


class Repository:
    """A checkout with packages/ in it, and its git repository."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def git(self, *words: str, cwd: Path | None = None) -> str:
        """Run git and give what it printed, without the last line's end."""
        return run("git", *words, cwd=cwd or self.root).rstrip("\n")

    def ranges(self, package: Package) -> dict[str, Range]:
        """Give the range of each sibling that a package's manifest requires, extras included."""
        if not package.manifest.is_file():
            return {}
        try:
            found = sibling_ranges(package.manifest.read_text("utf-8"), self._folders.keys())
        except ValueError as error:
            raise ReleaseError(f"packages/{package.name}/pyproject.toml {error}") from None
        found.pop(package.name, None)
        return found

    @cached_property
    def _folders(self) -> dict[str, Package]:
        """Every package by its name, in no order."""
        folders = [folder.parent for folder in self.root.glob("packages/*/src")]
        return {folder.name: Package(folder.name, folder) for folder in folders}

    @cached_property
    def packages(self) -> dict[str, Package]:
        """Every package by its name, those before others that require them."""
        found = self._folders
        sorter = TopologicalSorter({name: [*self.ranges(each)] for name, each in found.items()})
        try:
            sorter.prepare()
        except CycleError as error:
            raise ReleaseError(
                f"packages require each other: {' -> '.join(error.args[1])}"
            ) from None
        ordered: dict[str, Package] = {}
        while sorter.is_active():
            ready = sorted(sorter.get_ready(), key=_place)
            ordered |= {name: found[name] for name in ready}
            sorter.done(*ready)
        return ordered

    def package(self, name: str) -> Package:
        """Give one of the packages by its name."""
        if name not in self.packages:
            known = ", ".join(sorted(self.packages)) or "none"
            raise ReleaseError(f"there is no package {name!r}, only {known}")
        return self.packages[name]

    @cached_property
    def tags(self) -> frozenset[str]:
        """Every tag, as they were when first asked for."""
        return frozenset(self.git("tag", "--list").splitlines())

    def tagged(self, name: str) -> list[Version]:
        """Give the versions of a package that have a tag, rising."""
        prefix = f"{name}-v"
        found = []
        for tag in self.tags:
            if not tag.startswith(prefix):
                continue
            try:
                found.append(Version(tag.removeprefix(prefix)))
            except InvalidVersion:
                continue  # no tag of a release
        return sorted(found)

    def shown(self, revision: str, path: str) -> str | None:
        """Give a file's text at a revision, or None where it does not exist."""
        try:
            return run("git", "show", f"{revision}:{path}", cwd=self.root)
        except ReleaseError:
            return None

    def refuse_unready(self, branch: str | None) -> None:
        """Refuse a folder that no release may start from: nothing is changed, main is checked out.

        Raises:
            ReleaseError: it is no git repository, or has changes, or another branch.
        """
        try:
            top = Path(self.git("rev-parse", "--show-toplevel"))
        except ReleaseError as error:
            missing = "not on the PATH" in str(error)
            raise (
                error if missing else ReleaseError(f"{self.root} is no git repository")
            ) from None
        if top.resolve() != self.root:
            raise ReleaseError(f"{self.root} is not the top of its git repository, which is {top}")
        try:
            current = self.git("symbolic-ref", "--quiet", "--short", "HEAD")
        except ReleaseError:
            raise ReleaseError("HEAD is detached: switch to the branch that is released") from None
        wanted = (branch,) if branch else ("main", "master")
        if current not in wanted:
            raise ReleaseError(
                f"the branch is {current}, and releases are made on {wanted[0]} (or name --branch)"
            )
        self.refuse_changes()

    def refuse_changes(self) -> None:
        """Refuse changed and staged files, wherever they are, and new ones in a package.

        Raises:
            ReleaseError: there is one; the text names it.
        """
        for line in self.git("status", "--porcelain").splitlines():
            state, path = line[:2], line[3:]
            if state != "??":
                how = "staged" if state[0] != " " else "changed"
                raise ReleaseError(f"{path} is {how} and not committed")
            if path.startswith("packages/"):
                raise ReleaseError(f"{path} is not committed and not ignored")


def tag_of(name: str, version: Version) -> str:
    return f"{name}-v{version}"


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)
