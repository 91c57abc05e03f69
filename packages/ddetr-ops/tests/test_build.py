"""What the build decides from its environment, and what the sources promise."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path

import pytest

HOOK = Path(__file__).parent.parent / "hatch_build.py"


@pytest.fixture
def hook(monkeypatch):
    """hatch_build.py as a module, with a clean environment."""
    pytest.importorskip("hatchling", reason="hatchling builds the package, it is no dependency")
    if not HOOK.exists():
        pytest.skip("the build hook is not part of the wheel")
    for name in ("DDETR_OPS_CUDA", "DDETR_OPS_PURE", "DDETR_OPS_CUDA_ARCHITECTURES"):
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location("ddetr_ops_hatch_build", HOOK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_compiler_means_cpu_only(hook, monkeypatch):
    """Without nvcc the CUDA part is left out, unless it was insisted on."""
    monkeypatch.setattr(hook.shutil, "which", lambda name: None)
    assert hook.cuda_arguments() == []
    monkeypatch.setenv("DDETR_OPS_CUDA", "1")
    with pytest.raises(FileNotFoundError, match="no nvcc"):
        hook.cuda_arguments()


def test_a_found_compiler_builds_few_architectures(hook, monkeypatch):
    """Without a GPU here: a short list; all of them only for a release."""
    monkeypatch.setattr(hook.shutil, "which", lambda name: "/nvcc" if name == "nvcc" else None)
    assert f"-DCMAKE_CUDA_ARCHITECTURES={hook.AUTOMATIC}" in hook.cuda_arguments()
    monkeypatch.setenv("DDETR_OPS_CUDA", "1")
    assert f"-DCMAKE_CUDA_ARCHITECTURES={hook.RELEASE}" in hook.cuda_arguments()
    monkeypatch.setenv("DDETR_OPS_CUDA", "0")
    assert hook.cuda_arguments() == []


def test_an_unknown_choice_is_refused(hook, monkeypatch):
    """The text lists what DDETR_OPS_CUDA may be."""
    monkeypatch.setenv("DDETR_OPS_CUDA", "yes")
    with pytest.raises(ValueError, match="0, 1, pypi or unset"):
        hook.cuda_arguments()


def test_a_compiler_before_cuda_13_builds_for_volta_too(hook):
    """sm_70 is left out only where the compiler has dropped it, or cannot be asked."""
    said = "Cuda compilation tools, release {}, V{}.86"
    assert hook.release_architectures(said.format("12.9", "12.9")) == f"70-real;{hook.RELEASE}"
    assert hook.release_architectures(said.format("13.0", "13.0")) == hook.RELEASE
    assert hook.release_architectures("") == hook.RELEASE


@pytest.mark.parametrize(
    ("platform", "asked", "native"),
    [
        ("linux", None, True),
        ("darwin", None, True),
        ("win32", None, False),
        ("linux", "", True),
        ("win32", "", False),
        ("linux", "0", True),
        ("win32", "0", True),
        ("linux", "1", False),
        ("darwin", "1", False),
        ("win32", "1", False),
    ],
)
def test_windows_gets_no_native_part_unless_it_is_asked_for(hook, platform, asked, native):
    """Elsewhere there is one unless it is declined."""  # fault 56
    variables = {} if asked is None else {"DDETR_OPS_PURE": asked}
    assert hook.is_native(platform, variables) is native


def test_on_windows_the_wheel_is_pure_and_asks_for_no_compiler(hook, monkeypatch, tmp_path):
    """No build tool beyond hatchling, no program is run, and pip takes the wheel everywhere."""
    from hatchling.builders.wheel import WheelBuilder

    def no_program(*command, **options):
        raise AssertionError(f"{command} was run")

    builder = WheelBuilder(str(HOOK.parent))
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(hook.subprocess, "run", no_program)
    assert builder.config.dependencies == []
    (wheel,) = builder.build(directory=str(tmp_path), versions=["standard"])
    assert wheel.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "ddetr_ops/reference.py" in names
    assert not [name for name in names if name.endswith((".so", ".pyd"))]


def test_elsewhere_the_build_asks_for_its_tools(hook, monkeypatch):
    """The CUDA compiler is among them only where it is to come from the package index."""
    from hatchling.builders.wheel import WheelBuilder

    def wanted():
        names = WheelBuilder(str(HOOK.parent)).config.dependencies
        return {name.partition(">")[0].partition("=")[0] for name in names}

    tools = {"cmake", "ninja", "pybind11"}
    monkeypatch.setattr(sys, "platform", "linux")
    assert wanted() == tools
    monkeypatch.setenv("DDETR_OPS_CUDA", "pypi")
    assert wanted() > tools
    assert "nvidia-cuda-nvcc" in wanted()


def test_a_module_is_found_by_each_systems_name(hook, tmp_path):
    """Linux and macOS end it with .so, Windows with .pyd; a stub is none."""
    names = ("_core.cpython-314t-x86_64-linux-gnu.so", "_core.cp311-win_amd64.pyd")
    for name in (*names, "_core.pyi"):
        (tmp_path / name).touch()
    assert sorted(path.name for path in hook.libraries_in(tmp_path)) == sorted(names)
