"""GPUs and drivers that are older than the build: one sentence, and the reference does the work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ddetr_ops

PROBLEM = ddetr_ops.doctor(self_test=False).problems["cuda"]
pytestmark = pytest.mark.skipif(
    PROBLEM != "torch finds no CUDA device", reason=PROBLEM or "a GPU works here"
)

# A driver's library, with what CUDA's runtime asks it first.
DRIVER = """
int cuDriverGetVersion(int* version) {{ *version = {version}; return 0; }}
int cuInit(unsigned flags) {{ return 0; }}
"""
# PyTorch as it would be with that driver and one GPU; then calls with tensors on it.
RUN = """
import torch, warnings
found_none = torch.cuda.is_available
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
torch.cuda.get_device_capability = lambda device=None: {capability}
import ddetr_ops
from torch._subclasses.fake_tensor import FakeTensorMode

print(ddetr_ops.doctor(self_test=False).problems["cuda"])
torch.cuda.is_available = found_none
with FakeTensorMode(), warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    value = torch.rand(1, 6, 2, 4, device="cuda")
    locations = torch.rand(1, 3, 2, 1, 2, 2, device="cuda")
    for _ in range(3):
        output = ddetr_ops.ms_deform_attn(value, [(2, 3)], None, locations, locations[..., 0])
print(tuple(output.shape))
print(*(it.message for it in caught if "ddetr-ops" in str(it.message)), sep="\\n")
"""


@pytest.fixture
def run_with(tmp_path):
    """What a process says that has a driver for that CUDA (12040 is 12.4) and that GPU."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler, to make a driver's library")

    def run(version: int, capability: tuple[int, int]) -> list[str]:
        source, library = tmp_path / "driver.c", tmp_path / "libcuda.so.1"
        source.write_text(DRIVER.format(version=version))
        subprocess.run([compiler, "-shared", "-fPIC", source, "-o", library], check=True)
        folders = {
            "PYTHONPATH": Path(ddetr_ops.__file__).parent.parent,
            "LD_LIBRARY_PATH": tmp_path,
        }
        # Lightning, imported by other tests of the same process, sets it: PyTorch would then look
        # for GPUs where the fake driver is not.
        kept = {k: v for k, v in os.environ.items() if k != "PYTORCH_NVML_BASED_CUDA_CHECK"}
        paths = {
            name: f"{it}{os.pathsep}{os.environ.get(name, '')}" for name, it in folders.items()
        }
        done = subprocess.run(
            [sys.executable, "-c", RUN.format(capability=capability)],
            capture_output=True,
            text=True,
            env={**kept, **paths},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_an_old_driver_is_named_and_the_reference_runs(run_with):
    """One sentence in the doctor's report and in one warning: what there is, what is needed."""
    # fault 56
    problem, shape, *warned = run_with(11080, (9, 0))
    assert problem.startswith("the NVIDIA driver knows CUDA 11.8 and this build of ddetr-ops needs")
    assert problem.endswith(" or newer")
    assert shape == "(1, 3, 8)"
    assert warned == [f"ddetr-ops runs its slow PyTorch reference: {problem}"]


def test_an_old_gpu_is_named_and_the_reference_runs(run_with):
    """Likewise: kernels that were not compiled for it would fail at the first call."""
    problem, shape, *warned = run_with(99000, (3, 5))
    assert problem.startswith("CUDA device 0 has compute capability 3.5 and this build of")
    assert problem.endswith(" or newer")
    assert shape == "(1, 3, 8)"
    assert warned == [f"ddetr-ops runs its slow PyTorch reference: {problem}"]
