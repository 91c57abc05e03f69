"""Whole model on the CPU, batch 1: our ONNX files, Hugging Face's of the same weights, and PyTorch.

ONNX Runtime runs the files, and where a name says so OpenVINO, in the sessions of `open_detector`.

    python benchmarks/bench_export.py [--rounds 7] [--height 544] [--width 960]
        [--files FOLDER] [--out FILE.json]

One set of weights, made by Hugging Face transformers, goes through both exports. Everything runs in
one process, one after the other in an order that is shuffled each round, so that a busy machine
slows all alike. Threads do not spin between calls. With --files the exports are kept in a folder,
and a second run measures those that it finds there: the exports take longer than the measurement.
"""

from __future__ import annotations

import argparse
import json
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
from machine import describe_machine

from ddetr_data.detection import Precision
from ddetr_export import ExportConfig, export_onnx
from ddetr_export.graph import Signature, trace_to_onnx
from ddetr_export.onnx import session_opener
from ddetr_model import DeformableDETR, load_checkpoint

Forward = Callable[[np.ndarray], list[np.ndarray]]
OURS: dict[str, dict[str, Any]] = {
    "ours, opset 12, gather": {"opset_version": 12},
    "ours, opset 17, GridSample": {"opset_version": 17},
    "ours, opset 17, plugin with body": {"opset_version": 17, "on_cpu": False},
}
THEIRS, NATIVE = "Hugging Face, opset 17", "ours, PyTorch, native operator"
IN_OPENVINO = (
    ("ours, opset 12, gather", "fp32"),
    ("ours, opset 12, gather", "bf16"),
    (THEIRS, "fp32"),
)
OUTPUTS = ("pred_logits", "pred_boxes")
NOTES = "exports.json"


class HuggingFaceModel(torch.nn.Module):
    """Their DeformableDetr, called the way it is exported: without padding."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        config = transformers.DeformableDetrConfig(
            use_timm_backbone=True,
            backbone="resnet50",
            use_pretrained_backbone=False,
            with_box_refine=True,
            encoder_layers=layers,
            decoder_layers=layers,
            num_labels=91,
        )
        self.model = transformers.DeformableDetrForObjectDetection(config).eval()

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mask = torch.ones(inputs.shape[0], *inputs.shape[2:], dtype=torch.long)
        outputs = self.model(inputs, pixel_mask=mask, return_dict=True)
        return outputs.logits, outputs.pred_boxes


def main() -> None:
    """Export everything, time everything, write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", type=int, default=6, help="Of the encoder and of the decoder.")
    parser.add_argument("--height", type=int, default=544)
    parser.add_argument("--width", type=int, default=960)
    parser.add_argument("--files", type=Path, help="Folder to keep the exported files in.")
    parser.add_argument("--export-only", action="store_true", help="Fill the folder, then end.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/export.json"))
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.files or Path(temporary)
        if not (folder / NOTES).is_file():
            export_all(folder, options)
        if options.export_only:
            return
        notes = json.loads((folder / NOTES).read_text("utf-8"))
        files = {name: folder / values["file"] for name, values in notes.items()}
        model = load_checkpoint(folder / "huggingface")
        runners = {name: onnx_forward(path, options.threads) for name, path in files.items()}
        for name, precision in IN_OPENVINO:
            runner = f"{name}, OpenVINO {precision}"
            runners[runner] = openvino_forward(files[name], precision)
            files[runner] = files[name]
        runners[NATIVE] = torch_forward(model)
        images = np.random.default_rng(0).normal(size=(1, 3, options.height, options.width))
        seconds = measure(runners, images.astype(np.float32), options.rounds)
        theirs = runners[THEIRS](images.astype(np.float32))
        figures = {
            name: {
                **describe(seconds[name], files.get(name)),
                **differences(runners[name](images.astype(np.float32)), theirs),
                **{key: each for key, each in notes.get(name, {}).items() if key != "file"},
            }
            for name in runners
        }
    least = min(seconds[THEIRS])  # what else runs on a machine only ever adds to a time
    for values in figures.values():
        values["times_hugging_face"] = round(values["min_seconds"] / least, 3)
    report = {
        "what": f"batch 1, {options.width}x{options.height}, ResNet-50, {options.layers}+"
        f"{options.layers} layers, 300 queries, CPU, random weights",
        "rounds": options.rounds,
        "threads": options.threads,
        "machine": describe_machine("torch", "onnxruntime", "openvino", "transformers"),
        "figures": figures,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print(json.dumps(report, indent=2))


def export_all(folder: Path, options: argparse.Namespace) -> None:
    """Write the weights, our files of them, theirs, and notes of what the exports said."""
    theirs = HuggingFaceModel(options.layers)
    theirs.model.save_pretrained(folder / "huggingface")
    notes: dict[str, dict[str, Any]] = {}
    size = {"input_height": options.height, "input_width": options.width}
    for index, (name, settings) in enumerate(OURS.items()):
        config = ExportConfig(check_images=2, overwrite=True, **size, **settings)
        report = export_onnx(folder / "huggingface", folder / f"{index}.onnx", config)
        notes[name] = {
            "file": report.path.name,
            "export_seconds": round(report.seconds, 1),
            "max_error_logits": report.max_error_logits,
            "max_error_boxes": report.max_error_boxes,
        }
    started = time.perf_counter()
    exported = trace_to_onnx(
        theirs,
        [torch.zeros(2, 3, options.height, options.width)],
        Signature(("inputs",), OUTPUTS, dynamic_batch=True),
        opset=17,
    )
    seconds = round(time.perf_counter() - started, 1)
    (folder / "theirs.onnx").write_bytes(exported.SerializeToString())
    notes[THEIRS] = {"file": "theirs.onnx", "export_seconds": seconds}
    (folder / NOTES).write_text(json.dumps(notes), "utf-8")


def onnx_forward(path: Path, threads: int) -> Forward:
    """Make a call that runs the file once."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(OUTPUTS, {"inputs": images})


def openvino_forward(path: Path, precision: Precision) -> Forward:
    """Make a call that runs the file once, with as many threads as there are cores."""
    session = session_opener("openvino", precision)(path.read_bytes(), path.name)
    return lambda images: session.run({"inputs": images}, OUTPUTS)


def torch_forward(model: DeformableDETR) -> Forward:
    """Make a call that runs the model once."""

    @torch.inference_mode()
    def run(images: np.ndarray) -> list[np.ndarray]:
        outputs = model(torch.from_numpy(images))
        return [outputs.pred_logits.numpy(), outputs.pred_boxes.numpy()]

    return run


def measure(runners: dict[str, Forward], images: np.ndarray, rounds: int) -> dict[str, list[float]]:
    """Seconds of each call; one more round before, which is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    order = list(runners)
    for number in range(rounds + 1):
        random.shuffle(order)
        for name in order:
            started = time.perf_counter()
            runners[name](images)
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def differences(found: list[np.ndarray], theirs: list[np.ndarray]) -> dict[str, float]:
    """Largest differences from Hugging Face's file."""
    return {
        f"difference_{name}": float(np.abs(one - other).max())
        for name, one, other in zip(("logits", "boxes"), found, theirs, strict=True)
    }


def describe(seconds: list[float], path: Path | None) -> dict[str, float]:
    """Median and least seconds, and what the file weighs."""
    figures: dict[str, float] = {
        "median_seconds": round(statistics.median(seconds), 4),
        "min_seconds": round(min(seconds), 4),
    }
    if path is not None:
        figures["nodes"] = len(onnx.load(path).graph.node)
        figures["megabytes"] = round(path.stat().st_size / 1e6, 1)
    return figures


if __name__ == "__main__":
    main()
