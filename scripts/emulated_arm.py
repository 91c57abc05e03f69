"""A 64-bit ARM Python under QEMU, to try a wheel where there is no such processor.

Python and its libraries come from Debian's packages for arm64, everything else from the package
index. An emulated processor is slow: of the package's tests it runs the self-test alone.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ops_wheels import output_of, run

EMULATOR = "qemu-aarch64"
PYTHON_VERSION = "3.11"
TORCH = "torch==2.9.1"  # the newest whose wheel for this processor brings no CUDA


def missing_tools() -> list[str]:
    """Programs that this needs and that are not here."""
    return [name for name in (EMULATOR, "apt-get", "dpkg-deb") if shutil.which(name) is None]


def test_under_emulation(wheel: Path, folder: Path) -> None:
    """Run the self-test of the installed wheel: kernels against the reference, on two threads."""
    root, site = folder / "root", folder / "site"
    unpack_python(root)
    target = ("--python-platform", "aarch64-manylinux_2_28", "--python-version", PYTHON_VERSION)
    run("uv", "pip", "install", "--quiet", *target, "--target", site, TORCH, "numpy", wheel)
    python = (EMULATOR, "-L", root, root / "usr" / "bin" / f"python{PYTHON_VERSION}")
    variables = {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "2"}
    run(*python, "-m", "ddetr_ops", variables=variables)


def unpack_python(root: Path) -> None:
    """Download and unpack Debian's Python for arm64 with what it needs; nothing is installed."""
    state = root.parent / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    options = [
        *("-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64"),
        *("-o", f"Dir::State::Lists={state / 'lists'}", "-o", f"Dir::Cache={state / 'cache'}"),
        *("-o", f"Dir::State::Status={state / 'status'}"),
    ]
    output_of("apt-get", *options, "update")
    wanted = (f"python{PYTHON_VERSION}", "libstdc++6")
    download = ("install", "--yes", "--no-install-recommends", "--download-only", *wanted)
    output_of("apt-get", *options, *download)
    for package in (state / "cache" / "archives").glob("*.deb"):
        run("dpkg-deb", "--extract", package, root)
    if not (root / "lib").exists():  # Debian's links of a merged /usr
        os.symlink("usr/lib", root / "lib")
