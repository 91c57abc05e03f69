"""Make what a release of a package has: its sdist, its wheel, and the list of what they bring.

    python scripts/release_files.py ddetr-data dist

The list is CycloneDX, and names the package with all that an installation of it takes today.
Siblings come from the index, so they are published first. A distribution in a folder of the
package, such as that of ddetr-ops with another project's module name, goes along.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from wheelhouse import PACKAGES, ROOT, build_wheel, run


def main() -> None:
    """Make the files of the package named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", choices=sorted(PACKAGES))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if any(folder.glob("*.whl")):
        parser.error(f"{folder} has a wheel already")
    try:
        wheel = build_wheel(arguments.package, folder)
        list_contents(arguments.package, wheel, folder)
        for manifest in sorted((ROOT / "packages" / arguments.package).glob("*/pyproject.toml")):
            run("uv", "build", "--quiet", "--out-dir", folder, manifest.parent)
    except (OSError, subprocess.CalledProcessError) as problem:
        sys.exit(f"release-files: {problem}")


def list_contents(package: str, wheel: Path, folder: Path) -> Path:
    """Write what an environment with a wheel has to PACKAGE-VERSION.cdx.json, and give its path."""
    written = folder / f"{'-'.join(wheel.name.split('-')[:2]).replace('_', '-')}.cdx.json"
    with tempfile.TemporaryDirectory(prefix="ddetr-contents-") as name:
        python = Path(name) / "bin" / "python"
        run("uv", "venv", "--quiet", "--python", sys.executable, name)
        run("uv", "pip", "install", "--quiet", "--python", python, wheel)
        options = ("--output-reproducible", "--of", "JSON", "--output-file", written)
        manifest = ROOT / "packages" / package / "pyproject.toml"
        words = ("environment", "--pyproject", manifest, *options, python)
        run(sys.executable, "-m", "cyclonedx_py", *words)
    return written


if __name__ == "__main__":
    main()
