"""Whole model, 960x544, batch 1, on the CPU: our ONNX files, Hugging Face's, and PyTorch.

    python benchmarks/bench_export.py [--rounds 7] [--out benchmarks/results/export.json]

Everything runs in one process, one after the other in an order that is shuffled each round, so that
a busy machine slows all alike. Weights are random: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import transformers

from ddetr_export import ExportConfig, export_onnx
from ddetr_export.tracing import Signature, trace_to_onnx
from ddetr_model import DeformableDETR, ModelConfig, save_checkpoint

HEIGHT, WIDTH = 544, 960
OURS: dict[str, dict[str, Any]] = {
    "ours, opset 12, gather": {"opset_version": 12},
    "ours, opset 17, grid": {"opset_version": 17},
    "ours, opset 17, gather": {"opset_version": 17, "sampling": "gather"},
    "ours, opset 17, plugin with body": {"opset_version": 17, "on_cpu": False},
}


class HuggingFaceModel(torch.nn.Module):
    """Their DeformableDetr of the same architecture, called the way it is exported."""

    def __init__(self) -> None:
        super().__init__()
        config = transformers.DeformableDetrConfig(
            use_timm_backbone=True,
            backbone="resnet50",
            use_pretrained_backbone=False,
            with_box_refine=True,
            num_labels=91,
        )
        self.model = transformers.DeformableDetrForObjectDetection(config).eval()

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mask = torch.ones(inputs.shape[0], *inputs.shape[2:], dtype=torch.long)
        outputs = self.model(inputs, pixel_mask=mask, return_dict=True)
        return outputs.logits, outputs.pred_boxes


def main() -> None:
    """Export everything, time everything, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/export.json"))
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        files = export_all(Path(folder))
        runners = {name: onnx_runner(path, arguments.threads) for name, path in files.items()}
        runners["ours, PyTorch"] = torch_runner(DeformableDETR(ModelConfig()).eval())
        seconds = measure(runners, arguments.rounds)
        figures = {name: describe(files.get(name), seconds[name]) for name in runners}
    report = {
        "what": f"batch 1, {WIDTH}x{HEIGHT}, ResNet-50, 6+6 layers, 300 queries, CPU",
        "rounds": arguments.rounds,
        "threads": arguments.threads,
        "machine": platform.processor() or platform.machine(),
        "versions": {
            each.__name__: each.__version__ for each in (torch, onnxruntime, transformers)
        },
        "figures": figures,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n", "utf-8")


def export_all(folder: Path) -> dict[str, Path]:
    """Write their file and ours."""
    save_checkpoint(DeformableDETR(ModelConfig()), folder / "model.pth")
    files = {}
    for index, (name, settings) in enumerate(OURS.items()):
        files[name] = folder / f"{index}.onnx"
        export_onnx(folder / "model.pth", files[name], ExportConfig(check_images=2, **settings))
    files["Hugging Face, opset 17"] = folder / "theirs.onnx"
    trace_to_onnx(
        HuggingFaceModel(),
        [torch.zeros(2, 3, HEIGHT, WIDTH)],
        files["Hugging Face, opset 17"],
        Signature(("inputs",), ("pred_logits", "pred_boxes"), dynamic_batch=True),
        opset=17,
    )
    return files


def onnx_runner(path: Path, threads: int) -> Callable[[], Any]:
    """Make a call that runs the file once; threads do not spin between calls."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32)
    return lambda: session.run(None, {"inputs": images})


def torch_runner(model: DeformableDETR) -> Callable[[], Any]:
    """Make a call that runs the model once."""
    images = torch.randn(1, 3, HEIGHT, WIDTH)

    @torch.inference_mode()
    def run() -> Any:
        return model(images)

    return run


def measure(runners: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call; one more round before, which is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    order = list(runners)
    for number in range(rounds + 1):
        random.shuffle(order)
        for name in order:
            started = time.perf_counter()
            runners[name]()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def describe(path: Path | None, seconds: list[float]) -> dict[str, float | int]:
    """Median and least seconds, and what the file weighs."""
    figures: dict[str, float | int] = {
        "median_seconds": round(statistics.median(seconds), 4),
        "min_seconds": round(min(seconds), 4),
    }
    if path is not None:
        figures["nodes"] = len(onnx.load(path).graph.node)
        figures["megabytes"] = round(path.stat().st_size / 1e6, 1)
    return figures


if __name__ == "__main__":
    main()
