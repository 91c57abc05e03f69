"""The proof of bounds: siblings come from release tags, and what is kept goes with what made it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import wheelhouse

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
dynamic = ["version"]
dependencies = {dependencies}

[tool.hatch.version]
path = "src/{module}/__about__.py"

[tool.hatch.build.targets.wheel]
packages = ["src/{module}"]
"""
PACKAGES = {"ddetr-ops": [], "ddetr-model": ["ddetr-ops>=0.1,<0.2"]}


def git(root: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=root, check=True)


def write_version(root: Path, package: str, version: str) -> None:
    """Give a package a version, and commit it."""
    about = root / "packages" / package / "src" / package.replace("-", "_") / "__about__.py"
    about.parent.mkdir(parents=True, exist_ok=True)
    about.write_text(f'__version__ = "{version}"\n', "utf-8")
    (about.parent / "__init__.py").touch()
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", f"{package}: {version}")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages: ddetr-ops has tags for 0.1.0 and 0.1.10 and goes on, ddetr-model has none."""
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "--quiet")
    git(root, "config", "user.name", "A Releaser")
    git(root, "config", "user.email", "releaser@example.org")
    for name, required in PACKAGES.items():
        folder = root / "packages" / name
        folder.mkdir(parents=True)
        text = MANIFEST.format(name=name, module=name.replace("-", "_"), dependencies=str(required))
        (folder / "pyproject.toml").write_text(text, "utf-8")
        write_version(root, name, "0.1.0")
    git(root, "tag", "ddetr-ops-v0.1.0")
    write_version(root, "ddetr-ops", "0.1.10")
    git(root, "tag", "ddetr-ops-v0.1.10")
    write_version(root, "ddetr-ops", "0.1.11")
    monkeypatch.setattr(wheelhouse, "PACKAGES", tuple(PACKAGES))
    return root


@pytest.fixture
def without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let uv build with the hatchling of this environment, and know no index."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not on the PATH; `make test` puts it there")
    for name in ("UV_OFFLINE", "UV_NO_INDEX", "UV_NO_BUILD_ISOLATION"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("UV_PYTHON", sys.executable)


@pytest.mark.usefixtures("without_network")
def test_siblings_are_taken_from_release_tags(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lowest is the first tag and the newest the last; what no tag holds is not offered."""
    published = wheelhouse.build_published(tmp_path / "dist", repository)
    folders = {"-".join(wheel.name.split("-")[:2]): wheel.parent.name for wheel in published}
    assert folders["ddetr_ops-0.1.0"] == "ddetr-ops-v0.1.0"
    assert folders["ddetr_ops-0.1.10"] == "ddetr-ops-v0.1.10"
    model = wheelhouse.digest_of("ddetr-model", repository)
    assert folders["ddetr_model-0.1.0"] == f"ddetr-model-{model}"
    assert len(published) == 3
    for wheel in published[:2]:  # the files are those of the tag too
        version = wheel.parent.name.partition("-v")[2]
        about = zipfile.ZipFile(wheel).read("ddetr_ops/__about__.py").decode()
        assert about == f'__version__ = "{version}"\n'

    manifest = repository / "packages" / "ddetr-model" / "pyproject.toml"
    for resolution, expected in (("lowest-direct", "0.1.0"), ("highest", "0.1.10")):
        found = wheelhouse.find_versions(resolution, sys.executable, published, manifest)
        assert found.stdout.splitlines() == [f"ddetr-ops=={expected}"]

    monkeypatch.setattr(wheelhouse, "build_wheel", None)  # nothing is built a second time
    assert wheelhouse.build_published(tmp_path / "dist", repository) == published


def test_a_package_has_another_digest_when_it_works_otherwise(repository: Path) -> None:
    """Sources count, committed or not; papers do not, and tests where they are asked for."""
    folder = repository / "packages" / "ddetr-model"
    plain = wheelhouse.digest_of("ddetr-model", repository)
    tested = wheelhouse.digest_of("ddetr-model", repository, with_tests=True)
    (folder / "CHANGELOG.md").write_text("# Changelog\n")
    assert wheelhouse.digest_of("ddetr-model", repository, with_tests=True) == tested
    (folder / "tests").mkdir()
    (folder / "tests" / "test_it.py").write_text("def test_it() -> None: ...\n")
    assert wheelhouse.digest_of("ddetr-model", repository) == plain
    assert wheelhouse.digest_of("ddetr-model", repository, with_tests=True) != tested
    (folder / "src" / "ddetr_model" / "matcher.py").write_text("MATCHES = True\n")
    assert wheelhouse.digest_of("ddetr-model", repository) != plain


def test_what_passed_is_kept_for_the_same_versions_and_siblings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version, or another wheel of a sibling that is required, is another case."""
    monkeypatch.syspath_prepend(str(ROOT))
    from proofs import bounds

    def published(model: str) -> list[Path]:
        wheels = {"ops": "ddetr-ops-v0.1.0", "model": model}
        return [
            tmp_path / name / f"ddetr_{key}-0.1.0-py3-none-any.whl" for key, name in wheels.items()
        ]

    case = bounds.CASES[0]
    resolved = "ddetr-ops==0.1.0\nnumpy==1.24.0\n"
    kept = bounds.digest(case, resolved, published("ddetr-model-v0.1.0"))
    assert bounds.digest(case, resolved, published("ddetr-model-0a1b")) == kept
    assert (
        bounds.digest(case, resolved.replace("1.24", "1.25"), published("ddetr-model-v0.1.0"))
        != kept
    )
    other = "ddetr-model==0.1.0\nddetr-ops==0.1.0\n"
    assert (
        len(
            {
                bounds.digest(case, other, published(name))
                for name in ("ddetr-model-v0.1.0", "ddetr-model-0a1b")
            }
        )
        == 2
    )


def test_what_fails_is_told_and_what_passes_alone_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that pass in a second round are named; those that fail twice, or a crash, fail."""
    monkeypatch.syspath_prepend(str(ROOT))
    from proofs import bounds

    failed = "FAILED tests/test_a.py::test_b - Timeout\n"
    first = f"{failed}1 failed, 7 passed, 2 skipped in 61.20s (0:01:01)\n"
    second = "1 passed, 9 deselected in 0.10s\n"
    assert bounds.outcome([first, second], 0) == {
        "failed": [],
        "passed": 8,
        "tests": "1 failed, 7 passed, 2 skipped; then 1 passed, 9 deselected",
        "passed alone": ["tests/test_a.py::test_b - Timeout"],
    }
    assert bounds.outcome([first, first], 1)["failed"] == ["tests/test_a.py::test_b - Timeout"]
    assert bounds.outcome(["Killed"], -9)["failed"] == ["exit status -9: Killed"]
    assert bounds.outcome(["3 passed in 0.01s\n"], 0)["passed"] == 3
