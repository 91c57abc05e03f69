"""What each package must carry: licence, typing mark, own version, README and changelog."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version
from releasing.ranges import sibling_ranges
from releasing.versions import next_breaking
from wheelhouse import install_commands

from ddetr_cli.running import EXTRAS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = sorted(path for path in (ROOT / "packages").iterdir() if path.is_dir())
READMES = [ROOT / "README.md", *(package / "README.md" for package in PACKAGES)]
LONGEST_README_LINES = 120
ENTRY_LINES = range(10, 16)
TITLE = re.compile(r"## \[(\d+\.\d+\.\d+(?:\.post\d+)?)\] - (unreleased|\d{4}-\d\d-\d\d)")
CHANGES = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
SIBLING = re.compile(r"(ddetr-[a-z]+)")


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


def test_a_changelog_reads_from_the_newest_version(package: Path) -> None:
    """Versions fall, only the first may be unreleased, and changes stand in the stated order."""
    text = (package / "CHANGELOG.md").read_text("utf-8")
    *_, head = text.partition("<!-- releases, newest first -->\n")
    titles = [line for line in head.splitlines() if line.startswith("## ")]
    found = [TITLE.fullmatch(line) for line in titles]
    assert all(found), titles
    versions = [Version(match[1]) for match in found if match]
    assert versions == sorted(set(versions), reverse=True)
    assert not any(match[2] == "unreleased" for match in found[1:] if match)
    for entry in re.split(r"(?m)^## .*$", head)[1:]:
        kinds = re.findall(r"(?m)^### (.*)$", entry)
        assert kinds == [kind for kind in CHANGES if kind in kinds]


def test_an_unreleased_entry_is_short_and_takes_all_changes(package: Path) -> None:
    """While there is one, it is edited and there are no fragments; it is of the stated version."""
    *_, head = (package / "CHANGELOG.md").read_text("utf-8").partition("first -->\n")
    title, _, entry = head.partition("\n")
    fragments = sorted((package / "changelog.d").glob("*.md"))
    for path in fragments:
        assert re.fullmatch(rf"[\w-]+\.({'|'.join(CHANGES).lower()})\.md", path.name), path
    match = TITLE.fullmatch(title)
    if match is not None and match[2] == "unreleased":
        assert stated_version(package).base_version == match[1]  # a pre-release of it may be out
        lines = [line for line in entry.partition("\n## ")[0].splitlines() if line]
        assert len(lines) in ENTRY_LINES
        assert fragments == []


def test_a_readme_is_short(package: Path) -> None:
    """A package's README is under 120 lines and says how to install it."""
    text = (package / "README.md").read_text("utf-8")
    assert len(text.splitlines()) < LONGEST_README_LINES
    assert any(package.name in folders for folders in install_commands(text))


def test_a_readme_links_to_nothing_that_stays_behind(package: Path) -> None:
    """On the index's page a link into the repository leads nowhere."""
    for page in package.rglob("README.md"):
        links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
        assert [link for link in links if not re.match(r"https?:|#", link)] == [], page


@pytest.mark.parametrize("page", READMES, ids=lambda page: str(page.relative_to(ROOT)))
def test_an_install_command_is_complete(page: Path) -> None:
    """It takes folders of this repository, with every sibling that one of them requires."""
    for folders in install_commands(page.read_text("utf-8")):
        for name, extras in folders.items():
            assert siblings_of(name, extras) <= folders.keys(), f"{page}: {folders}"


def siblings_of(name: str, extras: list[str]) -> set[str]:
    """Packages of this repository that one requires, with these extras."""
    manifest = (ROOT / "packages" / name / "pyproject.toml").read_text("utf-8")
    project: dict[str, Any] = tomllib.loads(manifest)["project"]
    optional = project.get("optional-dependencies", {})
    assert set(filter(None, extras)) <= optional.keys(), f"{name} has no such extra: {extras}"
    required = [
        *project["dependencies"],
        *(it for extra in extras for it in optional.get(extra, [])),
    ]
    return {match[1] for it in required if (match := SIBLING.match(it))} - {name}


def test_a_package_states_its_version_once(package: Path) -> None:
    """Only __about__ gives the version; the manifest reads it from there."""
    about = package / "src" / package.name.replace("-", "_") / "__about__.py"
    assert re.search(r'__version__ = "\d+\.\d+\.\d+\S*"', about.read_text("utf-8"))
    manifest = (package / "pyproject.toml").read_text("utf-8")
    assert 'dynamic = ["version"]' in manifest
    assert not re.search(r"(?m)^version\s*=", manifest)


def test_siblings_are_required_by_range(package: Path) -> None:
    """From a version up to one that may break, and what is here fits; `>=0.1,<0.2` is the form."""
    versions = {path.name: stated_version(path) for path in PACKAGES}
    text = (package / "pyproject.toml").read_text("utf-8")
    for name, wanted in sibling_ranges(text, versions.keys() - {package.name}).items():
        assert wanted.admits(versions[name]), f"{name}{wanted} does not take {versions[name]}"
        assert wanted.below >= next_breaking(versions[name])


def stated_version(package: Path) -> Version:
    about = package / "src" / package.name.replace("-", "_") / "__about__.py"
    return Version(about.read_text("utf-8").split('__version__ = "')[1].split('"')[0])


def test_a_package_can_be_found_and_asked_about(package: Path) -> None:
    """Addresses, authors, classifiers and words to search for, which differ between packages."""
    project = tomllib.loads((package / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["authors"]
    urls = project["urls"]
    assert list(urls) == ["Homepage", "Documentation", "Repository", "Changelog", "Issues"]
    assert all(url.startswith(urls["Repository"]) for url in urls.values())
    assert urls["Changelog"].endswith(f"/packages/{package.name}/CHANGELOG.md")
    words = project["keywords"]
    assert len(words) == len(set(words)) >= 8
    kinds = {kind.partition(" :: ")[0] for kind in project["classifiers"]}
    assert kinds >= {"Development Status", "Intended Audience", "Operating System", "Typing"}
    assert project["classifiers"] == sorted(project["classifiers"])
    for other in PACKAGES:
        if other != package:
            theirs = tomllib.loads((other / "pyproject.toml").read_text("utf-8"))["project"]
            assert urls["Repository"] == theirs["urls"]["Repository"]
            assert len(set(words) - set(theirs["keywords"])) >= 4


def test_the_extras_that_messages_name_exist() -> None:
    """What ddetr-cli asks to install, it offers, and nothing else."""
    text = (ROOT / "packages" / "ddetr-cli" / "pyproject.toml").read_text("utf-8")
    table = text.partition("[project.optional-dependencies]\n")[2].partition("\n\n")[0]
    assert [line.partition(" =")[0] for line in table.splitlines()] == sorted(EXTRAS)
