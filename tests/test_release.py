"""The release script, run on a small repository of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "release.py"


def run_release(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *words, "--root", str(root)]
    return subprocess.run(command, capture_output=True, text=True)


def git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


CHANGELOG = """# Changelog

<!-- releases, newest first -->
"""
UNRELEASED = """## [0.1.0] - unreleased

### Added

- The operator.
"""
FRAGMENT = "An empty batch gives an empty answer."


def commit_all(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "a change")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one package at 0.1.0, whose changelog has no release yet."""
    package = tmp_path / "packages" / "ddetr-ops"
    about = package / "src" / "ddetr_ops" / "__about__.py"
    about.parent.mkdir(parents=True)
    about.write_text('__version__ = "0.1.0"\n')
    (package / "CHANGELOG.md").write_text(CHANGELOG)
    (package / "changelog.d").mkdir()
    (package / "changelog.d" / ".gitkeep").touch()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "user.name", "A Releaser")
    git(tmp_path, "config", "user.email", "releaser@example.org")
    commit_all(tmp_path)
    return tmp_path


@pytest.fixture
def with_fragment(repository: Path) -> Path:
    """The same, and one fragment."""
    folder = repository / "packages" / "ddetr-ops" / "changelog.d"
    (folder / "empty.fixed.md").write_text(FRAGMENT)
    commit_all(repository)
    return repository


@pytest.fixture
def unreleased(repository: Path) -> Path:
    """The same, and an entry 0.1.0 that is not released."""
    changelog = repository / "packages" / "ddetr-ops" / "CHANGELOG.md"
    changelog.write_text(CHANGELOG + UNRELEASED)
    commit_all(repository)
    return repository


def test_a_release_makes_its_entry_of_the_fragments(with_fragment: Path) -> None:
    """One command sets the version, moves the fragment into the changelog and tags."""
    done = run_release(with_fragment, "ddetr-ops", "0.2.0")
    assert done.returncode == 0, done.stderr
    package = with_fragment / "packages" / "ddetr-ops"
    changelog = (package / "CHANGELOG.md").read_text()
    assert "## [0.2.0]" in changelog
    assert FRAGMENT in changelog
    assert not (package / "changelog.d" / "empty.fixed.md").exists()
    assert '__version__ = "0.2.0"' in (package / "src" / "ddetr_ops" / "__about__.py").read_text()
    assert git(with_fragment, "tag", "--points-at", "HEAD") == "ddetr-ops-v0.2.0"
    assert git(with_fragment, "status", "--porcelain") == ""


def test_a_release_dates_an_entry_that_is_there(unreleased: Path) -> None:
    """The entry stays as it was written; its title gets the day, and the commit the tag."""
    done = run_release(unreleased, "ddetr-ops", "0.1.0")
    assert done.returncode == 0, done.stderr
    changelog = (unreleased / "packages" / "ddetr-ops" / "CHANGELOG.md").read_text()
    title, _, rest = changelog.removeprefix(CHANGELOG).partition("\n")
    assert re.fullmatch(r"## \[0\.1\.0\] - \d{4}-\d\d-\d\d", title)
    assert rest == UNRELEASED.partition("\n")[2]
    assert git(unreleased, "tag", "--points-at", "HEAD") == "ddetr-ops-v0.1.0"
    assert git(unreleased, "status", "--porcelain") == ""


def test_the_release_after_a_dated_one_is_made_of_fragments(unreleased: Path) -> None:
    """Its entry stands above the one that was written by hand, under a title of the same form."""
    assert run_release(unreleased, "ddetr-ops", "0.1.0").returncode == 0
    package = unreleased / "packages" / "ddetr-ops"
    (package / "changelog.d" / "empty.fixed.md").write_text(FRAGMENT)
    commit_all(unreleased)
    assert run_release(unreleased, "ddetr-ops", "0.1.1").returncode == 0
    changelog = (package / "CHANGELOG.md").read_text()
    titles = re.findall(r"(?m)^## \[([\d.]+)\] - \d{4}-\d\d-\d\d$", changelog)
    assert titles == ["0.1.1", "0.1.0"]
    assert changelog.index(FRAGMENT) < changelog.index("- The operator.")


def test_another_version_than_the_unreleased_one_is_refused(unreleased: Path) -> None:
    """Nothing is written."""
    done = run_release(unreleased, "ddetr-ops", "0.2.0")
    assert done.returncode == 2
    assert "has 0.1.0 as unreleased: release that first" in done.stderr
    assert git(unreleased, "status", "--porcelain") == ""


def test_fragments_beside_an_unreleased_entry_are_refused(unreleased: Path) -> None:
    """The files are named, and nothing is written."""
    folder = unreleased / "packages" / "ddetr-ops" / "changelog.d"
    (folder / "empty.fixed.md").write_text(FRAGMENT)
    commit_all(unreleased)
    done = run_release(unreleased, "ddetr-ops", "0.1.0")
    assert done.returncode == 2
    assert "write empty.fixed.md into it" in done.stderr
    assert git(unreleased, "status", "--porcelain") == ""
    assert git(unreleased, "tag") == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ddetr-ops", "0.0.9"], "is at 0.1.0, beyond 0.0.9"),
        (["ddetr-ops", "two"], "a version reads like 0.2.0"),
        (["ddetr-none", "0.2.0"], "there is no package 'ddetr-none', only ddetr-ops"),
        (["ddetr-ops", "0.7.0"], "after which come 0.1.1, 0.2.0, 1.0.0, not 0.7.0"),
        (["ddetr-ops", "0.1.0"], "after which come 0.1.1"),
        (["ddetr-ops", "0.2.0"], "changelog.d is empty"),
        (["ddetr-ops"], "give PACKAGE VERSION"),
        (["--check", "ddetr-none-v0.1.0"], "there is no package 'ddetr-none'"),
        (["--check", "ddetr-ops-v0.3.0"], "disagrees with __about__, which states 0.1.0"),
        (["--check", "v0.1.0"], "is no release tag"),
    ],
)
def test_a_wrong_release_is_refused(repository: Path, words: list[str], sentence: str) -> None:
    """A version that goes back, a wrong name and a tag that disagrees change nothing."""
    done = run_release(repository, *words)
    assert done.returncode == (1 if words[0] == "--check" else 2)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert git(repository, "status", "--porcelain") == ""


def test_a_release_is_whole_or_nothing(with_fragment: Path) -> None:
    """A tag that exists, a staged file of elsewhere, a fragment of no type, a commit refused."""
    git(with_fragment, "tag", "ddetr-ops-v0.2.0")
    assert "is released already" in run_release(with_fragment, "ddetr-ops", "0.2.0").stderr
    git(with_fragment, "tag", "--delete", "ddetr-ops-v0.2.0")
    (with_fragment / "staged.txt").touch()
    git(with_fragment, "add", "staged.txt")
    assert "not committed" in run_release(with_fragment, "ddetr-ops", "0.2.0").stderr
    git(with_fragment, "rm", "--quiet", "--force", "staged.txt")
    odd = with_fragment / "packages" / "ddetr-ops" / "changelog.d" / "odd.mended.md"
    odd.write_text(FRAGMENT)
    commit_all(with_fragment)
    assert "odd.mended.md names none of" in run_release(with_fragment, "ddetr-ops", "0.2.0").stderr
    git(with_fragment, "rm", "--quiet", str(odd))
    commit_all(with_fragment)
    hook = with_fragment / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no such day >&2\nexit 1\n")
    hook.chmod(0o755)
    before = git(with_fragment, "rev-parse", "HEAD")
    done = run_release(with_fragment, "ddetr-ops", "0.2.0")
    assert done.returncode == 2
    assert "no such day" in done.stderr
    assert git(with_fragment, "rev-parse", "HEAD") == before
    assert git(with_fragment, "status", "--porcelain") == ""
    assert git(with_fragment, "tag") == ""


def test_a_tag_that_agrees_passes(repository: Path) -> None:
    """The check accepts the tag of the version that is stated."""
    assert run_release(repository, "--check", "ddetr-ops-v0.1.0").returncode == 0


def test_the_floors_of_this_repository_hold() -> None:
    """What packages use of siblings is in the floors, or comes with the siblings' next releases."""
    done = run_release(ROOT, "floors")
    if "git fetch --tags" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
