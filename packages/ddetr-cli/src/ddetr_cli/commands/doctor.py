"""`ddetr doctor`: what is installed, what runs where, and whether the kernels are right."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from ddetr_cli.commands.arguments import NoArguments
from ddetr_cli.running import EXIT_FAILURE, EXIT_SUCCESS
from ddetr_cli.terminal import RunConsole
from ddetr_export.onnx import silence_telemetry

_DISTRIBUTIONS = (
    "ddetr-ops",
    "ddetr-data",
    "ddetr-model",
    "ddetr-train",
    "ddetr-export",
    "ddetr-cli",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "timm",
    "onnx",
    "onnxruntime",
    "openvino",
    "tensorrt",
)


def main(_arguments: NoArguments, console: RunConsole) -> int:
    """Show versions, GPUs, ONNX Runtime's providers and the op's self-test; 1 if that fails."""
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
    diagnosis = doctor()
    console.say(str(diagnosis))
    return EXIT_SUCCESS if diagnosis.healthy else EXIT_FAILURE


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
