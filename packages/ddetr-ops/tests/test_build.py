"""What the build decides from its environment, and what the sources promise."""

from __future__ import annotations

import importlib.util
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
