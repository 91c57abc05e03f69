"""The packages of this repository after releases, as a resolver sees them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "scripts" / "release.py"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository as it is committed, on a branch main, with something to release."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not on the PATH; `make test` puts it there")
    root = tmp_path_factory.mktemp("clone") / "ddetr"
    done = subprocess.run(["git", "clone", "--quiet", str(ROOT), str(root)], capture_output=True)
    if done.returncode:
        pytest.skip("this is no git repository")
    git(root, "switch", "--quiet", "--force-create", "main")
    git(root, "config", "user.name", "A Releaser")
    git(root, "config", "user.email", "releaser@example.org")
    for folder in sorted((root / "packages").iterdir()):
        if "- unreleased" not in (folder / "CHANGELOG.md").read_text("utf-8"):
            change(root, folder.name)
    return root


def git(root: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=root, check=True)


def change(root: Path, package: str) -> None:
    """Give a package a change that may break."""
    (root / "packages" / package / "changelog.d" / "test.changed.md").write_text("All is new.\n")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "a change")


def release(root: Path, *words: str) -> None:
    command = [sys.executable, str(SCRIPT), *words, "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def resolve(root: Path, wheels: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Resolve ddetr-cli with all extras, of the packages as they are and of stubs of all else."""
    wheels.mkdir(exist_ok=True)
    floors: dict[str, Version] = {}
    for folder in (root / "packages").iterdir():
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
        text = next(folder.glob("src/*/__about__.py")).read_text("utf-8")
        version = text.split('__version__ = "')[1].split('"')[0]
        extras: dict[str, list[str]] = project.get("optional-dependencies", {})
        lines = [f"Requires-Dist: {line}" for line in project["dependencies"]]
        for extra, required in extras.items():
            lines.append(f"Provides-Extra: {extra}")
            lines += [f'Requires-Dist: {line}; extra == "{extra}"' for line in required]
        write_stub(wheels, folder.name, version, lines)
        for line in [*project["dependencies"], *(it for each in extras.values() for it in each)]:
            requirement = Requirement(line)
            low = [Version(each.version) for each in requirement.specifier if each.operator != "<"]
            floors[requirement.name] = max([*low, floors.get(requirement.name, Version("1"))])
    for name, floor in floors.items():
        if not (root / "packages" / name).is_dir():
            write_stub(wheels, name, str(floor), [f"Provides-Extra: {each}" for each in ("s3",)])
    command = ["uv", "pip", "compile", "--quiet", "--no-header", "--offline", "--no-index"]
    asked = f"ddetr-cli[{','.join(extras_of(root, 'ddetr-cli'))}]\nddetr-export[crypto]\n"
    return subprocess.run(
        [*command, "--no-annotate", "--find-links", str(wheels), *options, "-"],
        input=asked,
        capture_output=True,
        text=True,
    )


def extras_of(root: Path, package: str) -> list[str]:
    text = (root / "packages" / package / "pyproject.toml").read_text("utf-8")
    project: dict[str, Any] = tomllib.loads(text)["project"]
    return sorted(project.get("optional-dependencies", {}))


def write_stub(folder: Path, name: str, version: str, lines: list[str]) -> None:
    """Write a wheel that has nothing but its metadata."""
    stem = f"{name.replace('-', '_')}-{version}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        told = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines, ""]
        wheel.writestr(f"{stem}.dist-info/METADATA", "\n".join(told))
        tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{stem}.dist-info/WHEEL", tags)
        wheel.writestr(f"{stem}.dist-info/RECORD", "")


@pytest.mark.slow
def test_the_packages_resolve_after_each_release(clone: Path, tmp_path: Path) -> None:
    """A train, a pre-release and a release of the operator alone, which may break, and a train."""
    release(clone, "train")
    assert resolve(clone, tmp_path / "first").returncode == 0
    change(clone, "ddetr-ops")
    release(clone, "train", "--dry-run")
    ops = clone / "packages" / "ddetr-ops" / "src" / "ddetr_ops" / "__about__.py"
    major, minor, _ = ops.read_text("utf-8").split('__version__ = "')[1].split('"')[0].split(".")
    breaking = f"{major}.{int(minor) + 1}.0"
    release(clone, "ddetr-ops", f"{breaking}a1")
    early = resolve(clone, tmp_path / "early", "--prerelease", "allow")
    assert f"ddetr-ops=={breaking}a1" in early.stdout.split(), early.stderr
    release(clone, "ddetr-ops", breaking)
    alone = resolve(clone, tmp_path / "alone")
    assert f"ddetr-ops=={breaking}" in alone.stdout.split(), alone.stderr
    release(clone, "train")
    assert resolve(clone, tmp_path / "last").returncode == 0
