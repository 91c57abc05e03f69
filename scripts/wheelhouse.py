"""Wheels of the packages, and clean environments that they are installed in alone."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ddetr-ops", "ddetr-model", "ddetr-export", "ddetr-train", "ddetr-cli", "ddetr-data")
LOCAL = re.compile(r"\./packages/(ddetr-[a-z]+)(?:\[([\w,-]+)\])?")
# What a package works alike without.
PAPERS = ("CHANGELOG.md", "LICENSE", "changelog.d")
TESTED = ("README.md", "tests")
# The line of a README that its examples need, where there are several.
EXAMPLES = re.compile(r"#.*\bexamples?\b")


def build_wheel(package: str, dist: Path, tree: Path = ROOT) -> Path:
    """Build a package's sdist and from it the wheel; give the wheel.

    Args:
        package: Its name.
        dist: An empty folder for both.
        tree: The checkout that holds the package.
    """
    start = time.monotonic()
    run("uv", "build", "--quiet", "--out-dir", dist, tree / "packages" / package)
    (wheel,) = dist.glob("*.whl")
    print(f"built {wheel.name} in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return wheel


def build_published(dist: Path, tree: Path = ROOT) -> list[Path]:
    """Build what an index would offer: the wheel of every release tag.

    A package that has none is built from the checkout, as if it were released. What `dist` holds
    already is not built again.
    """
    tags = git("tag", "--list", "ddetr-*-v*", tree=tree).decode().split()
    wheels = []
    for package in PACKAGES:
        of_package = [tag for tag in tags if tag.startswith(f"{package}-v")]
        wheels += [build_tagged(package, tag, dist, tree) for tag in of_package]
        if not of_package:
            wheels.append(build_checkout(package, dist, tree))
    return wheels


def build_tagged(package: str, tag: str, dist: Path, tree: Path = ROOT) -> Path:
    """Build a package as a tag has it, in a folder of `dist` with the tag's name, once."""
    for wheel in (dist / tag).glob("*.whl"):
        return wheel
    with unpacked(tag, tree) as tagged:
        return build_wheel(package, dist / tag, tagged)


def build_checkout(package: str, dist: Path, tree: Path = ROOT) -> Path:
    """Build a package of a checkout, in a folder of `dist` named after what it holds, once."""
    folder = dist / f"{package}-{digest_of(package, tree)}"
    for wheel in folder.glob("*.whl"):
        return wheel
    return build_wheel(package, folder, tree)


def digest_of(package: str, tree: Path = ROOT, *, with_tests: bool = False) -> str:
    """Name what a package works by: a digest of its files, without those that git ignores.

    Args:
        package: Its name.
        tree: The checkout that holds it.
        with_tests: Also its tests, and the README, whose examples are among them.
    """
    root = tree / "packages" / package
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", tree=root)
    left_out = PAPERS if with_tests else PAPERS + TESTED
    found = hashlib.sha256()
    for name in sorted(set(listed.decode().split("\0"))):
        file = root / name
        if file.is_file() and name.partition("/")[0] not in left_out:
            found.update(f"{name} {file.stat().st_size}\n".encode() + file.read_bytes())
    return found.hexdigest()[:12]


@contextmanager
def unpacked(commit: str, tree: Path = ROOT) -> Iterator[Path]:
    """The packages as a commit has them, in a folder that goes with the block."""
    with tempfile.TemporaryDirectory(prefix="ddetr-commit-") as folder:
        archive = io.BytesIO(git("archive", commit, "packages", tree=tree))
        with tarfile.open(fileobj=archive) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


def make_environment(folder: Path, python: str | Path = sys.executable) -> Path:
    """Make an empty virtual environment; give its interpreter."""
    run("uv", "venv", "--quiet", "--clear", "--python", python, folder)
    return folder / "bin" / "python"


def find_versions(
    resolution: str, python: str | Path, published: Iterable[Path], *wanted: object
) -> subprocess.CompletedProcess[str]:
    """Let uv choose versions among what its index has and wheels that are published here.

    Args:
        resolution: As uv calls it: lowest-direct or highest.
        python: The interpreter that they are for.
        published: Wheels, each in a folder.
        wanted: Files of requirements and options of `uv pip compile`.
    """
    shape = ("--quiet", "--no-header", "--no-annotate", "--python", python)
    how = ("--resolution", resolution, *links(published))
    return run("uv", "pip", "compile", *shape, *how, *wanted, shown_at_end=True)


def links(published: Iterable[Path]) -> list[object]:
    """Options of uv that offer it these wheels."""
    return [word for wheel in published for word in ("--find-links", wheel.parent)]


def pinned(wheels: Iterable[Path], folder: Path) -> Path:
    """Write constraints that take our packages from these wheels, one each; give the file."""
    file = folder / "siblings.txt"
    file.write_text("".join(f"{package_of(each)} @ {each.as_uri()}\n" for each in wheels))
    return file


def package_of(wheel: Path) -> str:
    """Name the package of a wheel."""
    return wheel.name.partition("-")[0].replace("_", "-")


def install_commands(page: str) -> Iterator[dict[str, list[str]]]:
    """Yield the packages of each `pip install` of a page, with the extras asked for.

    Raises:
        ValueError: it takes something else than a folder of this repository.
    """
    for command in re.findall(r"^.*\bpip install (.*)$", _joined(page), re.MULTILINE):
        yield _folders_of(command)


def example_requirements(page: str) -> dict[str, list[str]]:
    """Give the packages and extras that a README installs for its examples.

    It is the line whose comment names them; or the first.
    """
    commands: list[str] = re.findall(r"^.*\bpip install (.*)$", _joined(page), re.MULTILINE)
    return _folders_of(next(filter(EXAMPLES.search, commands), commands[0]))


def _joined(page: str) -> str:
    return page.replace("\\\n", "")


def _folders_of(command: str) -> dict[str, list[str]]:
    found = [LOCAL.fullmatch(word) for word in shlex.split(command, comments=True)]
    if not all(found):
        raise ValueError(f"takes something else than folders of this repository: {command}")
    return {it[1]: it[2].split(",") if it[2] else [] for it in found if it}


def git(*words: str, tree: Path = ROOT) -> bytes:
    """Give what git writes."""
    return subprocess.run(["git", *words], cwd=tree, check=True, stdout=subprocess.PIPE).stdout


def run(
    *command: object, cwd: Path = ROOT, shown_at_end: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command without this environment's variables, so that it sees only its own packages.

    One whose output is shown at the end may fail; any other must not.
    """
    foreign = {
        *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "HATCH_ENV_ACTIVE"),
        "PYTHONDONTWRITEBYTECODE",  # the tests start many processes of the same modules
    }
    environment = {key: value for key, value in os.environ.items() if key not in foreign}
    environment.setdefault("DDETR_DATA", str(ROOT.parent / "shared" / "data"))
    environment.setdefault("DDETR_OPS_CUDA", "0")  # setting up has compiled the CUDA kernels
    environment.setdefault("OMP_NUM_THREADS", "1")
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        check=not shown_at_end,
        encoding="utf-8",
        errors="backslashreplace",  # what a failed test shows may be any bytes
        stdout=subprocess.PIPE if shown_at_end else None,
        stderr=subprocess.STDOUT if shown_at_end else None,
    )
