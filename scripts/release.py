"""Release one package: set its version, complete its changelog, commit and tag.

    .venv/bin/python scripts/release.py ddetr-ops 0.2.0   # commits, and tags ddetr-ops-v0.2.0
    .venv/bin/python scripts/release.py --check TAG       # 1 when tag and __about__ disagree

An entry that stands in the changelog as unreleased gets the date of today; without one the entry
is made of the fragments in changelog.d/. Nothing is pushed; the release workflow builds what a
pushed tag names.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

FRAGMENT_TYPES = ("added", "changed", "deprecated", "removed", "fixed", "security")
ROOT = Path(__file__).resolve().parent.parent
TAG = re.compile(r"(?P<package>ddetr-[a-z]+)-v(?P<version>\d+\.\d+\.\d+)")
# The title of an entry that is written by hand, as pyproject.toml has towncrier write others.
UNRELEASED = re.compile(r"(?m)^## \[(?P<version>[^\]]+)\] - unreleased$")


def main() -> None:
    """Release the package named on the command line, or check a tag."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="+", metavar="PACKAGE VERSION | TAG")
    parser.add_argument("--check", action="store_true", help="only compare a tag with __about__")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if len(arguments.words) != (1 if arguments.check else 2):
        parser.error("give PACKAGE VERSION, or --check TAG")
    try:
        if arguments.check:
            check_tag(arguments.root, *arguments.words)
        else:
            release(arguments.root, *arguments.words)
    except (ValueError, subprocess.CalledProcessError) as problem:
        told = (getattr(problem, "stderr", "") or "").strip()
        print(f"release: {problem}{': ' if told else ''}{told}", file=sys.stderr)
        sys.exit(1 if arguments.check else 2)


def release(root: Path, package: str, version: str) -> None:
    """Write version and changelog of a package, commit only these, and tag the commit.

    All of it or nothing: what is written is taken back where git or towncrier refuse.

    Raises:
        ValueError: it is no release that may be made; the text says why.
        subprocess.CalledProcessError: git or towncrier refuse.
    """
    entry = refuse_what_cannot_be(root, package, version)
    folder, tag = root / "packages" / package, f"{package}-v{version}"
    before = git(root, "rev-parse", "HEAD")
    try:
        about_file(root, package).write_text(
            f'"""The version of {package}; the only file that states it."""\n\n'
            f'__version__ = "{version}"\n'
        )
        if entry is None:
            write_entry(root, package, version)
        else:
            date_entry(folder, version)
        git(root, "add", "--all", "--", str(folder))
        git(root, "commit", "--quiet", "--message", f"{package}: release {version}")
        git(root, "tag", tag)
    except BaseException:
        git(root, "reset", "--quiet", "--hard", before)  # nothing else was changed or staged
        raise
    print(f"{tag} is committed and tagged; publish it with `git push origin HEAD {tag}`")


def refuse_what_cannot_be(root: Path, package: str, version: str) -> str | None:
    """Find all that speaks against a release; give the unreleased entry's version, if any.

    Raises:
        ValueError: the package, the version, the changelog or the state of the repository.
    """
    folder = known_package(root, package)
    entry, stated = unreleased_version(folder), read_version(root, package)
    if entry not in (None, version):
        raise ValueError(f"{package}'s changelog has {entry} as unreleased: release that first")
    if as_numbers(version) < as_numbers(stated):
        raise ValueError(f"{package} is at {stated}, beyond {version}")
    following = next_versions(stated)
    if entry is None and version not in following:
        raise ValueError(
            f"{package} is at {stated}, after which come {', '.join(following)}, not {version}"
        )
    tag = f"{package}-v{version}"
    if git(root, "tag", "--list", tag):
        raise ValueError(f"the tag {tag} exists: {package} {version} is released already")
    if git(root, "status", "--porcelain", "--", str(folder)):
        raise ValueError(f"packages/{package} has changes that are not committed")
    if git(root, "status", "--porcelain", "--untracked-files=no"):
        raise ValueError("the repository has changes that are not committed, which it might take")
    if entry is None:
        fragments = [each.name for each in (folder / "changelog.d").glob("*.md")]
        odd = [name for name in fragments if name.split(".")[-2] not in FRAGMENT_TYPES]
        if odd:
            raise ValueError(f"{odd[0]} names none of the types {', '.join(FRAGMENT_TYPES)}")
        if not fragments:
            raise ValueError(f"packages/{package}/changelog.d is empty: nothing has changed")
        if importlib.util.find_spec("towncrier") is None:
            raise ValueError("towncrier is not installed here: use .venv/bin/python")
    return entry


def known_package(root: Path, package: str) -> Path:
    """Give a package's folder."""
    known = sorted(each.parent.name for each in (root / "packages").glob("*/src"))
    if package not in known:
        raise ValueError(f"there is no package {package!r}, only {', '.join(known)}")
    return root / "packages" / package


def next_versions(version: str) -> list[str]:
    """Give the three versions that may follow one, as semantic versioning has it."""
    major, minor, patch = as_numbers(version)
    return [f"{major}.{minor}.{patch + 1}", f"{major}.{minor + 1}.0", f"{major + 1}.0.0"]


def unreleased_version(folder: Path) -> str | None:
    """Give the version of the entry that a package's changelog has as unreleased, if any.

    Raises:
        ValueError: there are fragments too, and one change would be told in two ways.
    """
    found = UNRELEASED.search((folder / "CHANGELOG.md").read_text("utf-8"))
    if found is None:
        return None
    fragments = sorted(path.name for path in (folder / "changelog.d").glob("*.md"))
    if fragments:
        raise ValueError(
            f"{folder.name}'s changelog has an entry {found['version']} that is not released: "
            f"write {', '.join(fragments)} into it and remove changelog.d's files"
        )
    return found["version"]


def date_entry(folder: Path, version: str) -> None:
    """Put today's date (UTC) behind the version of the entry that was unreleased."""
    changelog = folder / "CHANGELOG.md"
    title = f"## [{version}] - {datetime.now(timezone.utc).date()}"
    changelog.write_text(UNRELEASED.sub(title, changelog.read_text("utf-8"), 1), "utf-8")


def write_entry(root: Path, package: str, version: str) -> None:
    """Make an entry of the fragments, and remove them."""
    folder = root / "packages" / package
    command = [sys.executable, "-m", "towncrier", "build", "--yes", "--version", version]
    settings = ["--config", str(root / "pyproject.toml"), "--dir", str(folder)]
    words = [*command, *settings, "--name", package]
    subprocess.run(words, cwd=root, check=True, capture_output=True, text=True)


def check_tag(root: Path, tag: str) -> None:
    """Refuse a tag that is not PACKAGE-vVERSION with the version that the package states."""
    parts = TAG.fullmatch(tag)
    if parts is None:
        raise ValueError(f"{tag} is no release tag; it should read like ddetr-ops-v0.1.0")
    known_package(root, parts["package"])
    stated = read_version(root, parts["package"])
    if stated != parts["version"]:
        raise ValueError(f"{tag} disagrees with __about__, which states {stated}")


def read_version(root: Path, package: str) -> str:
    """Read the version that a package states in its __about__."""
    found = re.search(r'__version__ = "(.+)"', about_file(root, package).read_text("utf-8"))
    if found is None:
        raise ValueError(f"{about_file(root, package)} states no version")
    return found[1]


def about_file(root: Path, package: str) -> Path:
    """Give the path of a package's __about__."""
    return root / "packages" / package / "src" / package.replace("-", "_") / "__about__.py"


def as_numbers(version: str) -> tuple[int, ...]:
    """Turn "0.2.10" into (0, 2, 10), which compares as versions do."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(f"a version reads like 0.2.0, not {version}")
    return tuple(int(part) for part in version.split("."))


def git(root: Path, *words: str) -> str:
    """Run git in the repository and give what it printed."""
    done = subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
