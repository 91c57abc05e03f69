"""Prove what ddetr-ops promises of its builds, one step a promise.

    python scripts/check_ops_wheel.py [--cuda] [STEP ...]

repair       a wheel for glibc 2.28, into which no library is bundled: OpenMP's runtime is torch's
torch-2.6    the same wheel is installed beside torch 2.6.0 without replacing it, and passes its
             tests there with no compiler on the PATH
torch-2.9    and under torch 2.9
torch-2.13   and under torch 2.13.0
torch        and under the newest torch
python-3.10  a wheel for Python 3.10 under the newest torch; likewise 3.11, 3.12 and 3.13
aarch64      wheels for 64-bit ARM and the same Pythons; one passes its self-test under QEMU, if
             there is qemu-aarch64 and Debian's apt-get
pure         a wheel without the native part works through the reference and warns once
asan         the tests of wrong input and of the kernels run under AddressSanitizer
arm          the kernels compile for 64-bit ARM and agree with float64 under QEMU; left out, and
             said so, without aarch64-linux-gnu-g++ and qemu-aarch64

Without a step: repair, the oldest and the newest torch, pure, asan, arm. --cuda builds the wheel
with the CUDA compiler from the package index, for every architecture.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import emulated_arm
from ops_wheels import (
    PACKAGE,
    ROOT,
    build,
    build_for_old_glibc,
    facts_of,
    install_tools,
    output_of,
    run,
)

TORCHES = {
    "torch-2.6": "torch==2.6.0",
    "torch-2.9": "torch==2.9.*",
    "torch-2.13": "torch==2.13.0",
    "torch": "torch",
}
PYTHONS = {f"python-{version}": version for version in ("3.10", "3.11", "3.12", "3.13")}
STEPS = ("repair", *TORCHES, *PYTHONS, "aarch64", "pure", "asan", "arm")
USUAL_STEPS = ("repair", "torch-2.6", "torch", "pure", "asan", "arm")
PORTABLE_KERNELS = ("baseline", "dispatch", "memory", "parallel", "points", "scalar")
# pip with nothing but what is installed: whatever else it wanted would be an error.
ALONE = ("--no-index",)
NO_SETTINGS = {"PIP_CONFIG_FILE": os.devnull}
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
    """Run the steps named on the command line, or the usual ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("steps", nargs="*", choices=[*STEPS, []], metavar="STEP")
    parser.add_argument("--cuda", action="store_true")
    options = parser.parse_args()
    cuda = "pypi" if options.cuda else "0"
    with tempfile.TemporaryDirectory(prefix="ddetr-ops-") as name:
        folder = Path(name)
        for step in options.steps or USUAL_STEPS:
            print(f"== {step}", flush=True)
            if step == "asan":
                check_with_sanitizer(folder / step)
            elif step == "pure":
                check_pure(folder / step)
            elif step == "arm":
                check_on_arm(folder / "agreement")
            elif step == "aarch64":
                check_aarch64(folder, cuda)
            elif step in PYTHONS:
                python = find_python(PYTHONS[step])
                wheel = wheel_for_old_glibc(folder, python, cuda)
                check_under_torch(wheel, folder / step, "torch", python)
            else:
                wheel = wheel_for_old_glibc(folder, sys.executable, cuda)
                if step in TORCHES:
                    check_under_torch(wheel, folder / step, TORCHES[step])


def find_python(version: str) -> str:
    """The path of an interpreter of that version: pyenv's, which hides them, or what uv finds."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for python in sorted(pyenv.glob(f"versions/{version}.*/bin/python")):
        return str(python)
    return output_of("uv", "python", "find", version).strip()


def wheel_for_old_glibc(
    folder: Path, python: str, cuda: str, architecture: str = os.uname().machine
) -> Path:
    """Build and repair once a Python, say what the wheel needs; nothing may be bundled."""
    output = folder / f"{architecture}{python.replace(os.sep, '-')}"
    done = list((output / "repaired").glob("*.whl"))
    if done:
        return done[0]
    wheel = build_for_old_glibc(output, architecture, python, cuda)
    facts = facts_of(wheel, install_tools(folder / "tools"))
    print(f"facts: {json.dumps(asdict(facts))}", flush=True)
    if len(facts.libraries) != 1:
        sys.exit(f"{wheel.name} should hold one library, not {facts.libraries}")
    return wheel


def check_aarch64(folder: Path, cuda: str) -> None:
    """Wheels for the other processor, of which one is tried in an emulator."""
    wheels = {
        version: wheel_for_old_glibc(folder, find_python(version), cuda, "aarch64")
        for version in PYTHONS.values()
    }
    if missing := emulated_arm.missing_tools():
        print(f"built, not run: there is no {' and no '.join(missing)}", flush=True)
        return
    emulated_arm.test_under_emulation(wheels[emulated_arm.PYTHON_VERSION], folder / "emulated")


def check_under_torch(wheel: Path, folder: Path, torch: str, python: str = sys.executable) -> None:
    """The tests in an environment of one torch and the wheel; neither compiler nor driver there."""
    python = environment(folder, torch, "numpy", "pip", python=python)
    check_that_nothing_is_replaced(python, wheel)
    run(python, "-m", "pip", "install", "--quiet", *ALONE, wheel, variables=NO_SETTINGS)
    run(python, "-c", "import torch, ddetr_ops; print(torch.__version__, ddetr_ops.doctor())")
    copy_tests(folder)
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", folder / "tests")
    run(python, *tests, variables={"PATH": str(Path(python).parent)})


def check_that_nothing_is_replaced(python: str, wheel: Path) -> None:
    """What pip would install is the wheel alone: the user's torch stays, whatever its version."""
    plan = ("install", "--quiet", *ALONE, "--dry-run", "--report", "-", wheel)
    report = json.loads(output_of(python, "-m", "pip", *plan, variables=NO_SETTINGS))
    names = [it["metadata"]["name"] for it in report["install"]]
    if names != ["ddetr-ops"]:
        sys.exit(f"pip would install {names}")
    print("pip would install ddetr-ops alone", flush=True)


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
    search = {"PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"}
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
    return output_of("gcc", f"-print-file-name={name}").strip()


def environment(folder: Path, *requirements: str | Path, python: str = sys.executable) -> str:
    """The interpreter of a new environment with these and the package's test tools."""
    found = str(folder / "venv" / "bin" / "python")
    run("uv", "venv", "--quiet", "--python", python, folder / "venv")
    tools = f"{PACKAGE / 'pyproject.toml'}:test"
    install = ("uv", "pip", "install", "--quiet", "--python", found, "--group", tools)
    run(*install, *requirements)
    return found


def copy_tests(folder: Path) -> None:
    shutil.copytree(PACKAGE / "tests", folder / "tests")
    shutil.copy(PACKAGE / "README.md", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)


if __name__ == "__main__":
    main()
