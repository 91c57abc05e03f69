"""`ddetr doctor`: what is installed, whether it fits, what runs where, and right kernels."""

from __future__ import annotations

import ctypes
import platform
from importlib.metadata import PackageNotFoundError, version

from ddetr_cli.commands.arguments import NoArguments
from ddetr_cli.running import EXIT_FAILURE, EXIT_SUCCESS
from ddetr_cli.terminal import RunConsole
from ddetr_cli.versions import SIBLINGS, find_misfits, sentence_of
from ddetr_export.onnx import import_openvino, silence_telemetry

_DISTRIBUTIONS = (
    *SIBLINGS,
    "torch",
    "torchvision",
    "pytorch-lightning",
    "timm",
    "onnx",
    "onnxruntime",
    "openvino",
    "tensorrt",
)
_NOT_INSTALLED = "not installed"


def main(_arguments: NoArguments, console: RunConsole) -> int:
    """Show versions, GPUs, runtimes and the op's self-test; 1 for what does not fit or fails."""
    silence_telemetry()
    import onnxruntime
    import torch

    from ddetr_ops import doctor

    rows = [("Python", platform.python_version())]
    rows += [(name, _version(name)) for name in _DISTRIBUTIONS]
    console.table("installed", ["what", "version"], rows)
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    console.say(f"GPUs: {', '.join(names) or 'none, everything runs on the CPU'}")
    console.say(f"ONNX Runtime: {', '.join(onnxruntime.get_available_providers())}")
    if _version("openvino") != _NOT_INSTALLED:
        console.say(f"OpenVINO: {', '.join(import_openvino().Core().available_devices)}")
    diagnosis = doctor()
    for line in str(diagnosis).splitlines():
        console.say(line)
    misfits = find_misfits()
    faults = [sentence_of(misfits)] if misfits else []
    if driver := driver_problem(torch.version.cuda, _driver_version()):
        faults.append(driver)
    elif names and (problem := diagnosis.problems.get("cuda")):
        faults.append(f"the operator computes slowly on the GPU, by the reference: {problem}")
    for fault in faults:
        console.fail(fault)
    if not faults:
        console.say("The versions fit together.")
    return EXIT_SUCCESS if diagnosis.healthy and not faults else EXIT_FAILURE


def driver_problem(built_for: str | None, driver: int | None) -> str:
    """Say why the NVIDIA driver does not run this PyTorch; empty where it does, or is absent.

    Args:
        built_for: CUDA's version of the PyTorch build, as "13.0"; None for one without.
        driver: The newest CUDA that the driver runs, as it tells it: 12080 is 12.8.
    """
    if built_for is None or driver is None:
        return ""
    major = int(built_for.partition(".")[0])
    if driver // 1000 >= major:  # within one major version older drivers run newer builds
        return ""
    runs = f"{driver // 1000}.{driver % 1000 // 10}"
    return (
        f"the NVIDIA driver runs CUDA up to {runs}, and this PyTorch is built for {built_for}: "
        f"update the driver, or install a PyTorch build for CUDA {driver // 1000}"
    )


def _driver_version() -> int | None:
    found = ctypes.c_int()
    try:
        driver = ctypes.CDLL("nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1")
        failed = driver.cuDriverGetVersion(ctypes.byref(found))
    except (OSError, AttributeError):
        return None
    return None if failed else found.value


def _version(distribution: str) -> str:
    try:
        # What an interrupted removal leaves has no version.
        return version(distribution) or _NOT_INSTALLED
    except PackageNotFoundError:
        return _NOT_INSTALLED
