"""Build every wheel, install each alone in a clean environment, run its own tests there.

    python scripts/check_wheels.py [PACKAGE ...]

Without an extra each public name loads, or asks for its extra in a sentence. The README's examples
run in an environment of their own, with what the README installs for them. A wheel that leans on a
dependency it does not declare, on a file that was not packed, or on a sibling's source tree fails
here. uv links the big downloads from its cache, so that an
environment with torch costs a second and hardly any disk. Two packages are tested at a time,
each with one thread; what took longest comes first.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wheelhouse import (
    PACKAGES,
    ROOT,
    build_wheel,
    example_requirements,
    make_environment,
    pinned,
    run,
)

AT_A_TIME = 2
FACE = """
import importlib, sys
module = importlib.import_module(sys.argv[1])
for name in module.__all__:
    try:
        getattr(module, name)
    except ValueError as error:
        if type(error).__name__ != "MissingExtraError":
            raise
        print(error)
"""


def main() -> None:
    """Check the packages named on the command line, or all six."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", default=PACKAGES, metavar="PACKAGE")
    chosen = parser.parse_args().packages
    with (
        tempfile.TemporaryDirectory(prefix="ddetr-wheels-") as folder,
        ThreadPoolExecutor(AT_A_TIME) as pool,
    ):
        dist = Path(folder) / "dist"
        built = pool.map(lambda package: build_wheel(package, dist / package), PACKAGES)
        wheels = dict(zip(PACKAGES, built, strict=True))
        passed = list(
            pool.map(lambda package: check_alone(package, wheels, Path(folder) / package), chosen)
        )
    if not all(passed):
        sys.exit("wheels: not every package passes its tests alone; see above")
    print(f"wheels: {len(chosen)} packages install and pass their tests alone")


def check_alone(package: str, wheels: dict[str, Path], folder: Path) -> bool:
    """Install one wheel and what it declares, siblings from their wheels: face, README, tests."""
    folder.mkdir()
    install = ("uv", "pip", "install", "--quiet", "--constraint", pinned(wheels.values(), folder))
    passed = [
        check(package, wheels, folder, install) for check in (check_face_and_tests, check_examples)
    ]
    return all(passed)


def check_face_and_tests(
    package: str, wheels: dict[str, Path], folder: Path, install: tuple[object, ...]
) -> bool:
    """Without an extra each name loads or asks for one; then the tests, with their own tools."""
    start = time.monotonic()
    python = make_environment(folder / "venv")
    run(*install, "--python", python, wheels[package])
    face = run(python, "-c", FACE, package.replace("-", "_"), shown_at_end=True)
    print(f"== {package}: its names, without extras\n{face.stdout}", flush=True)
    tools = f"{ROOT / 'packages' / package / 'pyproject.toml'}:test"
    run(*install, "--python", python, wheels[package], "--group", tools)
    shutil.copytree(ROOT / "packages" / package / "tests", folder / "tests")
    passed = run_tests(python, package, folder, "its tests, alone", start)
    return passed and face.returncode == 0


def check_examples(
    package: str, wheels: dict[str, Path], folder: Path, install: tuple[object, ...]
) -> bool:
    """The README's examples, with what its install line names and nothing else."""
    start = time.monotonic()
    page = (ROOT / "packages" / package / "README.md").read_text("utf-8")
    wanted = [
        f"{name}[{','.join(extras)}] @ {wheels[name].as_uri()}"
        for name, extras in example_requirements(page).items()
    ]
    python = make_environment(folder / "venv")
    run(*install, "--python", python, *wanted, "pytest", "pytest-timeout")
    alone = folder / "readme"
    (alone / "tests").mkdir(parents=True)
    shutil.copy(ROOT / "packages" / package / "tests" / "test_readme.py", alone / "tests")
    title = f"the README's examples, with {', '.join(it.partition(' ')[0] for it in wanted)}"
    return run_tests(python, package, alone, title, start, may_skip=False)


def run_tests(
    python: Path, package: str, folder: Path, title: str, start: float, *, may_skip: bool = True
) -> bool:
    """Run the tests of a folder beside the package's README, and show what they say."""
    shutil.copy(ROOT / "packages" / package / "README.md", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    options = ("-q", "-p", "no:cacheprovider", "-m", "not slow")  # `make test` runs those too
    done = run(python, "-m", "pytest", *options, "tests", cwd=folder, shown_at_end=True)
    seconds = time.monotonic() - start
    print(f"== {package}: {title}, in {seconds:.0f} s\n{done.stdout}", flush=True)
    return done.returncode == 0 and (may_skip or " skipped" not in done.stdout)


if __name__ == "__main__":
    main()
