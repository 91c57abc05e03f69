"""Time a training step and one inference of ours and of Hugging Face's model, in one process.

    python benchmarks/bench_model.py [--repeats N] [--threads N] [--size HEIGHT WIDTH]

Both have the same random weights (ResNet-50, 6 + 6 layers, 300 queries, box refinement) and see the
same image with three objects, one after the other in each repeat. A step is the forward pass, the
matching, all losses and the backward pass, each by the library's own code. The sums of the losses
stand beside the times.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import describe_machine
from torch import Tensor
from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection, ResNetConfig

from ddetr_model import DeformableDETR, SetCriterion, import_checkpoint

RESULTS = Path(__file__).parent / "results"
CLASSES = 91


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(544, 960))
    parser.add_argument("--output", type=Path, default=RESULTS / "model.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    theirs, ours = make_models()
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, *options.size, generator=generator)
    boxes = torch.rand(3, 4, generator=generator) * 0.4 + 0.1
    labels = torch.randint(CLASSES, (3,), generator=generator)
    steps = {
        "transformers": lambda: transformers_step(theirs, image, boxes, labels),
        "ddetr": lambda: our_step(ours, image, boxes, labels),
    }
    answers = {"transformers": lambda: theirs(image).logits, "ddetr": lambda: ours(image)}
    report: dict[str, Any] = {
        "machine": describe_machine("torch", "transformers", "ddetr-model"),
        "load_average": os.getloadavg()[0],
        "threads": options.threads,
        "image_hw": list(options.size),
        "loss": {name: run() for name, run in steps.items()},
        "step": compare(steps, options.repeats),
    }
    with torch.inference_mode():
        report["inference"] = compare(answers, options.repeats)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


def make_models() -> tuple[DeformableDetrForObjectDetection, DeformableDETR]:
    """Transformers' model and ours, read from its folder."""
    config = DeformableDetrConfig(
        backbone_config=ResNetConfig(out_features=["stage2", "stage3", "stage4"]),
        num_labels=CLASSES,
        with_box_refine=True,
        auxiliary_loss=True,
        dropout=0.0,
        class_cost=2,
        disable_custom_kernels=True,
    )
    torch.manual_seed(0)
    theirs = DeformableDetrForObjectDetection(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours, _ = import_checkpoint(folder)
    return theirs, ours


def transformers_step(
    model: DeformableDetrForObjectDetection, image: Tensor, boxes: Tensor, labels: Tensor
) -> float:
    """Forward, losses and backward by transformers, weighted as published; the summed loss."""
    losses = model(image, labels=[{"boxes": boxes, "class_labels": labels}]).loss_dict
    weights = {"loss_ce": 2.0, "loss_bbox": 5.0, "loss_giou": 2.0}
    total = sum(
        weights["_".join(name.split("_")[:2])] * value
        for name, value in losses.items()
        if name.startswith("loss_")
    )
    total.backward()
    model.zero_grad()
    return round(float(total), 4)


def our_step(model: DeformableDETR, image: Tensor, boxes: Tensor, labels: Tensor) -> float:
    """Forward, losses and backward by ours; the summed loss."""
    criterion = SetCriterion(model.config)
    total = criterion.total_loss(criterion(model(image), [{"boxes": boxes, "labels": labels}]))
    total.backward()
    model.zero_grad()
    return round(float(total), 4)


def compare(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Any]:
    """Seconds of each, in turns, and how much faster ours is."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    figures: dict[str, Any] = {}
    for what, choose in (("min", min), ("median", statistics.median)):
        found = {name: choose(times) for name, times in seconds.items()}
        figures[f"{what}_seconds"] = {name: round(value, 4) for name, value in found.items()}
        figures[f"{what}_ratio"] = round(found["transformers"] / found["ddetr"], 3)
    return figures


if __name__ == "__main__":
    main()
