"""A small repository of four packages, and the release script run on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CHANGELOG = """# Changelog

<!-- releases, newest first -->
## [0.1.0] - unreleased

### Added

- The first version.
"""
PACKAGES = {
    "ddetr-ops": [],
    "ddetr-data": [],
    "ddetr-model": ["ddetr-ops>=0.1,<0.2"],
    "ddetr-train": ["ddetr-data[crypto,torch]>=0.1,<0.2", "ddetr-model>=0.1,<0.2"],
}
FACES = {
    "ddetr-ops": '__all__ = ["attend"]\n',
    "ddetr-data": '__all__ = ["load"]\n',
    "ddetr-model": "from ddetr_ops import attend\n\n__all__ = []\n",
    "ddetr-train": "from ddetr_data import load\n\n__all__ = []\n",
}


@dataclass(frozen=True)
class Checkout:
    """A repository of packages, and what a releaser types in it."""

    root: Path

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=self.root, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def run(self, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
        """Run the release script; a folder named first on the PATH may shadow programs."""
        script = ROOT / "scripts" / "release.py"
        environment = os.environ | {
            "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]
        }
        return subprocess.run(
            [sys.executable, str(script), *words, "--root", str(self.root)],
            capture_output=True,
            text=True,
            env=environment,
        )

    def released(self, *words: str) -> str:
        """Run the release script, which must succeed, and give what it printed."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file of packages/ and commit it."""
        file = self.root / "packages" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "a change")

    def manifest(self, package: str) -> str:
        return (self.root / "packages" / package / "pyproject.toml").read_text()

    def version(self, package: str) -> str:
        module = package.replace("-", "_")
        text = (self.root / "packages" / package / "src" / module / "__about__.py").read_text()
        return text.split('__version__ = "')[1].split('"')[0]

    def state(self) -> dict[str, str]:
        """Give all that a release changes: HEAD, branches and tags, the index, every file."""
        listed = self.git("ls-files", "-z", "--cached", "--others")
        names = [name for name in listed.split("\0") if name]
        files = {name: (self.root / name).read_text("utf-8") for name in sorted(names)}
        return files | {
            "refs": self.git("for-each-ref"),
            "head": self.git("rev-parse", "HEAD", "--symbolic-full-name", "HEAD"),
            "index": self.git("ls-files", "--stage"),
            "status": self.git("status", "--porcelain"),
        }


@pytest.fixture(scope="session")
def made_checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four packages at 0.1.0 that were never released."""
    root = tmp_path_factory.mktemp("made")
    for package, requirements in PACKAGES.items():
        folder = root / "packages" / package
        source = folder / "src" / package.replace("-", "_")
        source.mkdir(parents=True)
        (source / "__about__.py").write_text('__version__ = "0.1.0"\n')
        (source / "__init__.py").write_text(FACES[package])
        lines = "".join(f'  "{requirement}",\n' for requirement in requirements)
        (folder / "pyproject.toml").write_text(
            f'[project]\nname = "{package}"\ndynamic = ["version"]\ndependencies = [\n{lines}]\n'
        )
        (folder / "CHANGELOG.md").write_text(CHANGELOG)
        (folder / "changelog.d").mkdir()
        (folder / "changelog.d" / ".gitkeep").touch()
    shutil.copy(ROOT / "pyproject.toml", root)
    checkout = Checkout(root)
    checkout.git("init", "--quiet", "--initial-branch", "main")
    checkout.git("config", "user.name", "A Releaser")
    checkout.git("config", "user.email", "releaser@example.org")
    checkout.git("add", "--all")
    checkout.git("commit", "--quiet", "--message", "the beginning")
    return root


@pytest.fixture(scope="session")
def made_train(made_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after all four are released as 0.1.0."""
    root = tmp_path_factory.mktemp("train") / "checkout"
    shutil.copytree(made_checkout, root)
    Checkout(root).released("train")
    return root


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Checkout]:
    def copy(made: Path) -> Checkout:
        shutil.copytree(made, tmp_path / "checkout")
        return Checkout(tmp_path / "checkout")

    return copy


@pytest.fixture
def unreleased(made_checkout: Path, copied: Callable[[Path], Checkout]) -> Checkout:
    """Four packages at 0.1.0 that were never released."""
    return copied(made_checkout)


@pytest.fixture
def checkout(made_train: Path, copied: Callable[[Path], Checkout]) -> Checkout:
    """Four packages that are released as 0.1.0."""
    return copied(made_train)
