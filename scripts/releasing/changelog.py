"""A package's changelog: the entry that is not released, fragments, and the notes of a release."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections import defaultdict
from datetime import datetime, timezone
from pathlib import Path

from packaging.version import Version

from releasing.programs import ReleaseError, run
from releasing.repository import Package, Repository
from releasing.texts import read_text, refuse_link, write_text
from releasing.versions import LEVELS, Level, parse_version

# The title of an entry that is written by hand, as pyproject.toml has towncrier write others.
UNRELEASED = re.compile(r"(?m)^## \[(?P<version>[^\]]+)\] - unreleased$")
FORM = "changelog.d/NAME.TYPE.md"
START = "<!-- releases, newest first -->\n"


def unreleased_version(package: Package) -> Version | None:
    """Give the version of the entry that a package's changelog has as unreleased, if any.

    Raises:
        ReleaseError: there is no changelog, it has two such entries, or there are fragments too,
            and one change would be told in two ways.
    """
    titles = [*UNRELEASED.finditer(_text(package))]
    if not titles:
        return None
    if len(titles) > 1:
        raise ReleaseError(
            f"{package.name}'s changelog has {len(titles)} entries that are not released, "
            f"{', '.join(each['version'] for each in titles)}: make one of them"
        )
    (found,) = titles
    if fragments := fragments_of(package):
        raise ReleaseError(
            f"{package.name}'s changelog has an entry {found['version']} that is not released: "
            f"write {', '.join(fragments)} into it and remove changelog.d's files"
        )
    if not entry_of(_text(package), f"{found['version']}]"):
        raise ReleaseError(f"{package.name}'s changelog says nothing of {found['version']}")
    try:
        return parse_version(found["version"])
    except ValueError as error:
        raise ReleaseError(f"{package.name}'s changelog has an unreleased entry: {error}") from None


def is_dated(package: Package, version: Version) -> bool:
    """Tell whether a package's changelog has an entry of a version with its day."""
    return re.search(rf"(?m)^## \[{re.escape(str(version))}\] - \d", _text(package)) is not None


def fragments_of(package: Package) -> dict[str, Level]:
    """Give the names of a package's fragments, and how much each changes.

    Raises:
        ReleaseError: a name has none of the types or another form, or a file says nothing.
    """
    found: dict[str, Level] = {}
    folder = package.folder / "changelog.d"
    for path in package.tracked("changelog.d"):
        name, _, kind = path.stem.rpartition(".")
        if path.name == ".gitkeep":
            continue
        if path.parent != folder or path.suffix != ".md" or (kind in LEVELS and not name):
            shown = path.relative_to(package.folder).as_posix()
            raise ReleaseError(f"packages/{package.name}/{shown} is no fragment: name it {FORM}")
        if kind not in LEVELS:
            raise ReleaseError(f"{path.name} names none of the types {', '.join(LEVELS)}")
        if not read_text(path).strip():
            raise ReleaseError(f"{path.name} of {package.name} is empty: write one sentence")
        found[path.name] = LEVELS[kind]
    return found


def date_entry(package: Package, version: Version) -> None:
    """Put today's date (UTC) behind the version of the entry that was unreleased."""
    changelog = package.folder / "CHANGELOG.md"
    write_text(changelog, UNRELEASED.sub(f"## [{version}] - {_today()}", _text(package), 1))


def add_fragment(package: Package, name: str, sentence: str) -> None:
    """Write a fragment, in the place of an earlier one of that name."""
    folder = package.folder / "changelog.d"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(sentence + "\n", "utf-8")


def refuse_no_towncrier(package: Package) -> None:
    """Refuse a release whose entry could not be made of fragments."""
    if importlib.util.find_spec("towncrier") is None:
        raise ReleaseError("towncrier is not installed here: use .venv/bin/python")
    if START not in _text(package):
        raise ReleaseError(f"{package.name}'s changelog has no line {START.strip()} to write below")


def write_entry(root: Path, package: Package, version: Version) -> None:
    """Make an entry of the fragments, and remove them."""
    command = [sys.executable, "-m", "towncrier", "build", "--yes", "--version", str(version)]
    settings = ["--config", str(root / "pyproject.toml"), "--dir", str(package.folder)]
    changelog = package.folder / "CHANGELOG.md"
    refuse_link(changelog)
    windows = b"\r\n" in changelog.read_bytes()
    run(*command, *settings, "--name", package.name, "--date", _today(), cwd=root)
    text = _text(package)
    changelog.write_text(text, "utf-8", newline="\r\n" if windows else "\n")
    if not entry_of(text, f"{version}]"):
        raise ReleaseError(
            f"towncrier has written no entry {version} into {package.name}'s changelog: "
            f"see [tool.towncrier] in pyproject.toml"
        )


def notes(repository: Repository, tag: str) -> str:
    """Give what a tag's changelog says of it: its entry, or for a pre-release what is to come.

    Raises:
        ReleaseError: there is no such tag, or nothing is said.
    """
    package, version = package_of_tag(repository, tag)
    if tag not in repository.tags:
        raise ReleaseError(f"there is no tag {tag} here")
    folder = f"packages/{package.name}"
    changelog = repository.shown(tag, f"{folder}/CHANGELOG.md") or ""
    entry = entry_of(changelog, f"{version}]")
    if not entry and version.is_prerelease:
        entry = entry_of(changelog, f"{version.base_version}] - unreleased")
    entry = entry or _of_fragments(repository, tag, f"{folder}/changelog.d/")
    if not entry:
        raise ReleaseError(f"{package.name}'s changelog says nothing of {version} at {tag}")
    return entry


def entry_of(changelog: str, title: str) -> str:
    """Give the text below a title that begins so, or nothing."""
    form = rf"(?ms)^## \[{re.escape(title)}[^\n]*\n(?P<entry>.*?)(?=^## |\Z)"
    found = re.search(form, changelog)
    return found["entry"].strip() + "\n" if found and found["entry"].strip() else ""


def package_of_tag(repository: Repository, tag: str) -> tuple[Package, Version]:
    """Split PACKAGE-vVERSION.

    Raises:
        ReleaseError: it has another form, or the package is none of these.
    """
    name, found, text = tag.rpartition("-v")
    try:
        version = parse_version(text)
    except ValueError:
        found = ""
    if not found:
        raise ReleaseError(f"{tag!r} is no release tag; it should read like ddetr-ops-v0.1.0")
    package = repository.package(name)
    return package, version


def _of_fragments(repository: Repository, tag: str, folder: str) -> str:
    """Join a tag's fragments under the titles of their types."""
    told: dict[str, list[str]] = defaultdict(list)
    for path in repository.git("ls-tree", "--name-only", tag, folder).splitlines():
        name, dot, kind = path.removesuffix(".md").rpartition(".")
        if name and dot and kind in LEVELS:
            told[kind].append(" ".join((repository.shown(tag, path) or "").split()))
    parts = [f"### {kind.capitalize()}\n\n" + _bullets(told[kind]) for kind in LEVELS if told[kind]]
    return "\n".join(parts)


def _bullets(sentences: list[str]) -> str:
    return "".join(f"- {sentence}\n" for sentence in sentences)


def _text(package: Package) -> str:
    path = package.folder / "CHANGELOG.md"
    if not path.is_file():
        raise ReleaseError(f"packages/{package.name} has no CHANGELOG.md")
    return read_text(path)


def _today() -> str:
    return str(datetime.now(timezone.utc).date())
