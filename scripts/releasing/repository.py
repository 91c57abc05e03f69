"""The repository that is released from: what git says of it, and the packages in it."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from packaging.version import Version

from releasing.programs import ReleaseError, run
from releasing.ranges import Range, sibling_ranges
from releasing.texts import read_text
from releasing.versions import parse_version

# Whoever is required comes first; among those that may come next, in this order.
ORDER = ("ddetr-ops", "ddetr-data", "ddetr-model", "ddetr-train", "ddetr-export", "ddetr-cli")
# What stands in git's folder while something else is at work, or waits for somebody to end it.
UNDER_WAY = {
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "sequencer": "a series of cherry-picks or reverts",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "index.lock": "another git command",
}


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
            found = re.search(r'__version__ = "(.+)"', read_text(self.about))
        if found is None:
            raise ReleaseError(f'{self.about} states no version: write __version__ = "0.1.0" there')
        try:
            return parse_version(found[1])
        except ValueError as error:
            raise ReleaseError(f"{self.about} states no version of ours: {error}") from None

    def tracked(self, pattern: str) -> list[Path]:
        """List files that git knows; those that it ignores are in no commit and no release."""
        listed = run("git", "ls-files", "-z", "--", pattern, cwd=self.folder).split("\0")
        return sorted(path for name in listed if name and (path := self.folder / name).is_file())


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
            siblings = self._folders.keys() - {package.name}
            return sibling_ranges(read_text(package.manifest), siblings)
        except ReleaseError:
            raise
        except ValueError as error:
            raise ReleaseError(f"packages/{package.name}/pyproject.toml {error}") from None

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
        return frozenset(self._tags())

    @cached_property
    def tags_below(self) -> frozenset[str]:
        """The tags of the commit that is checked out, and of those before it."""
        return frozenset(self._tags("--merged", "HEAD"))

    def _tags(self, *options: str) -> list[str]:
        form = "--format=%(refname:strip=2)"
        return self.git("for-each-ref", form, *options, "refs/tags").splitlines()

    def tagged(self, name: str, tags: frozenset[str] | None = None) -> list[Version]:
        """Give the versions of a package that have a tag, of all or of these tags, rising.

        A tag in another spelling than releases are tagged in, such as v0.2, is none of a release.
        """
        prefix = f"{name}-v"
        found = []
        for tag in self.tags if tags is None else tags:
            with suppress(ValueError):
                if tag.startswith(prefix):
                    found.append(parse_version(tag.removeprefix(prefix)))
        return sorted(found)

    def refuse_shallow(self) -> None:
        """Refuse a clone whose history is cut: what has no tag there may have been released."""
        if self.git("rev-parse", "--is-shallow-repository") == "true":
            raise ReleaseError(
                f"{self.root} is a shallow clone: get the rest with `git fetch --unshallow --tags`"
            )

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
            if "not a git repository" not in str(error):
                raise
            raise ReleaseError(f"{self.root} is no git repository") from None
        if top.resolve() != self.root:
            raise ReleaseError(f"{self.root} is not the top of its git repository, which is {top}")
        try:
            current = self.git("symbolic-ref", "--quiet", "--short", "HEAD")
        except ReleaseError:
            raise ReleaseError("HEAD is detached: switch to the branch that is released") from None
        wanted = ("main", "master") if branch is None else (branch,)
        if current not in wanted:
            raise ReleaseError(
                f"the branch is {current}, and releases are made on {wanted[0]} (or name --branch)"
            )
        for name, what in UNDER_WAY.items():
            if (self.root / self.git("rev-parse", "--git-path", name)).exists():
                raise ReleaseError(f"{what} is under way in {self.root}: end it first")
        try:
            self.git("var", "GIT_COMMITTER_IDENT")
        except ReleaseError:
            raise ReleaseError(
                "git knows nobody to commit as: set user.name and user.email with `git config`"
            ) from None
        self.refuse_shallow()
        self.refuse_changes()

    def refuse_changes(self) -> None:
        """Refuse changed and staged files, wherever they are, and new ones in a package.

        Raises:
            ReleaseError: there is one; the text names it.
        """
        options = ("--untracked-files=normal", "--ignore-submodules=none", "--no-renames")
        for line in self.git("status", "--porcelain", "-z", *options).split("\0"):
            state, path = line[:2], line[3:]
            if state not in ("", "??"):
                how = "staged" if state[0] != " " else "changed"
                raise ReleaseError(f"{path} is {how} and not committed: commit it, or put it away")
            if path.startswith("packages/"):
                raise ReleaseError(
                    f"{path} is not committed and not ignored: commit it, or put it away"
                )
        for line in self.git("ls-files", "-v", "-z", "--", "packages").split("\0"):
            if line[:1].islower() or line[:1] == "S":
                raise ReleaseError(
                    f"git is told to overlook changes of {line[2:]}: undo that with "
                    f"`git update-index --no-assume-unchanged --no-skip-worktree`"
                )


def tag_of(name: str, version: Version) -> str:
    return f"{name}-v{version}"


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)
