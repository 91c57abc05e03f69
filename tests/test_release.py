"""The release script, run on a small repository of its own."""

from __future__ import annotations

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


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one package at 0.1.0 and one changelog fragment."""
    package = tmp_path / "packages" / "ddetr-ops"
    about = package / "src" / "ddetr_ops" / "__about__.py"
    about.parent.mkdir(parents=True)
    about.write_text('__version__ = "0.1.0"\n')
    shutil.copy(ROOT / "packages" / "ddetr-ops" / "CHANGELOG.md", package)
    (package / "changelog.d").mkdir()
    (package / "changelog.d" / "empty.fixed.md").write_text("An empty batch gives an empty answer.")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "user.name", "A Releaser")
    git(tmp_path, "config", "user.email", "releaser@example.org")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "start")
    return tmp_path


def test_a_release_writes_version_changelog_and_tag(repository: Path) -> None:
    """One command sets the version, moves the fragment into the changelog and tags."""
    done = run_release(repository, "ddetr-ops", "0.2.0")
    assert done.returncode == 0, done.stderr
    package = repository / "packages" / "ddetr-ops"
    changelog = (package / "CHANGELOG.md").read_text()
    assert "## [0.2.0]" in changelog
    assert "An empty batch gives an empty answer." in changelog
    assert '__version__ = "0.2.0"' in (package / "src" / "ddetr_ops" / "__about__.py").read_text()
    assert git(repository, "tag", "--points-at", "HEAD") == "ddetr-ops-v0.2.0"
    assert git(repository, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ddetr-ops", "0.0.9"], "is at 0.1.0, beyond 0.0.9"),
        (["ddetr-ops", "two"], "a version reads like 0.2.0"),
        (["ddetr-none", "0.2.0"], "there is no package ddetr-none"),
        (["--check", "ddetr-ops-v0.3.0"], "disagrees with __about__, which states 0.1.0"),
        (["--check", "v0.1.0"], "is no release tag"),
    ],
)
def test_a_wrong_release_is_refused(repository: Path, words: list[str], sentence: str) -> None:
    """A version that goes back, a wrong name and a tag that disagrees change nothing."""
    done = run_release(repository, *words)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert git(repository, "status", "--porcelain") == ""


def test_a_tag_that_agrees_passes(repository: Path) -> None:
    """The check accepts the tag of the version that is stated."""
    assert run_release(repository, "--check", "ddetr-ops-v0.1.0").returncode == 0
