"""Build every wheel, install each alone in a clean environment, run its own tests there.

    python scripts/check_wheels.py [PACKAGE ...]

A wheel that leans on a dependency it does not declare, on a file that was not packed, or on a
sibling's source tree fails here. uv links the big downloads from its cache, so that an
environment with torch costs a second and hardly any disk.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ddetr-ops", "ddetr-data", "ddetr-model", "ddetr-train", "ddetr-export", "ddetr-cli")


def main() -> None:
    """Check the packages named on the command line, or all six."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", default=PACKAGES, metavar="PACKAGE")
    chosen = parser.parse_args().packages
    with tempfile.TemporaryDirectory(prefix="ddetr-wheels-") as folder:
        wheels = build_wheels(Path(folder) / "dist")
        for package in chosen:
            check_alone(package, wheels, Path(folder) / package)
    print(f"wheels: {len(chosen)} packages install and pass their tests alone")


def build_wheels(dist: Path) -> dict[str, Path]:
    """Build each package's sdist and from it the wheel; give the wheel of every package."""
    wheels = {}
    for package in PACKAGES:
        start = time.monotonic()
        run("uv", "build", "--quiet", "--out-dir", dist, ROOT / "packages" / package)
        (wheels[package],) = dist.glob(f"{package.replace('-', '_')}-*.whl")
        print(f"built {wheels[package].name} in {time.monotonic() - start:.0f} s", flush=True)
    return wheels


def check_alone(package: str, wheels: dict[str, Path], folder: Path) -> None:
    """Install one wheel, what it declares (siblings from their wheels) and run its tests."""
    python = folder / "venv" / "bin" / "python"
    run("uv", "venv", "--quiet", "--python", sys.executable, folder / "venv")
    pins = folder / "siblings.txt"
    pins.write_text("".join(f"{name} @ {wheel.as_uri()}\n" for name, wheel in wheels.items()))
    install = ("uv", "pip", "install", "--quiet", "--python", python, "--constraint", pins)
    tools = f"{ROOT / 'packages' / package / 'pyproject.toml'}:test"
    run(*install, wheels[package], "--group", tools)
    tests = folder / "tests"
    shutil.copytree(ROOT / "packages" / package / "tests", tests)
    shutil.copy(ROOT / "packages" / package / "README.md", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    print(f"== {package}: its tests, alone", flush=True)
    options = ("-q", "-p", "no:cacheprovider", "-m", "not slow")  # `make test` runs those too
    run(python, "-m", "pytest", *options, tests, cwd=folder)


def run(*command: object, cwd: Path = ROOT) -> None:
    """Run a command without this environment's variables, so that it sees only its own packages."""
    foreign = {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "HATCH_ENV_ACTIVE"}
    environment = {key: value for key, value in os.environ.items() if key not in foreign}
    environment.setdefault("DDETR_DATA", str(ROOT.parent / "shared" / "data"))
    environment.setdefault("DDETR_OPS_CUDA", "0")  # setting up has compiled the CUDA kernels
    subprocess.run([str(part) for part in command], cwd=cwd, env=environment, check=True)


if __name__ == "__main__":
    main()
