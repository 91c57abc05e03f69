"""What each package must carry: licence, typing mark, own version, README and changelog."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ddetr_cli.terminal import EXTRAS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = sorted(path for path in (ROOT / "packages").iterdir() if path.is_dir())
LONGEST_README_LINES = 120


@pytest.fixture(params=PACKAGES, ids=lambda path: path.name)
def package(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.param
    return folder


def test_a_package_carries_its_papers(package: Path) -> None:
    """Licence, README, changelog and the typing mark stand in every package."""
    module = package / "src" / package.name.replace("-", "_")
    assert (package / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (module / "py.typed").exists()
    assert "newest first" in (package / "CHANGELOG.md").read_text("utf-8")
    assert any((package / "tests").rglob("test_*.py"))


def test_a_readme_is_short(package: Path) -> None:
    """A package's README is under 120 lines and says how to install it alone."""
    text = (package / "README.md").read_text("utf-8")
    assert len(text.splitlines()) < LONGEST_README_LINES
    assert re.search(rf'pip install "?{package.name}\b', text)


def test_a_package_states_its_version_once(package: Path) -> None:
    """Only __about__ gives the version; the manifest reads it from there."""
    about = package / "src" / package.name.replace("-", "_") / "__about__.py"
    assert re.search(r'__version__ = "\d+\.\d+\.\d+"', about.read_text("utf-8"))
    manifest = (package / "pyproject.toml").read_text("utf-8")
    assert 'dynamic = ["version"]' in manifest
    assert not re.search(r"(?m)^version\s*=", manifest)


def test_siblings_are_required_by_range(package: Path) -> None:
    """A sibling is required from a version up to the next that may break."""
    for line in re.findall(r'"(ddetr-[^"]+)"', (package / "pyproject.toml").read_text("utf-8")):
        if line != package.name:
            assert re.fullmatch(r"ddetr-[a-z]+(\[[\w,-]+\])?>=\d+\.\d+,<\d+\.\d+", line), line


def test_the_extras_that_messages_name_exist() -> None:
    """What ddetr-cli asks to install, it offers, and nothing else."""
    text = (ROOT / "packages" / "ddetr-cli" / "pyproject.toml").read_text("utf-8")
    table = text.partition("[project.optional-dependencies]\n")[2].partition("\n\n")[0]
    assert [line.partition(" =")[0] for line in table.splitlines()] == sorted(EXTRAS)
