"""Time Hugging Face's Deformable DETR as it is and with the kernels dropped in, in one process.

    python benchmarks/bench_transformers.py [--repeats N] [--threads N] [--size HEIGHT WIDTH]

Both models have the same random weights (ResNet-50, 6 + 6 layers, 300 queries) and see the same
image, one after the other in each repeat. The largest difference of their outputs stands beside the
times. One step is the forward pass and the backward pass of the sum of boxes and logits.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from machine import describe_machine
from torch import Tensor, nn
from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection, ResNetConfig

from ddetr_ops.dropin import accelerate_transformers

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(800, 1066))
    parser.add_argument("--output", type=Path, default=RESULTS / "transformers.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    models = make_models()
    image = torch.randn(1, 3, *options.size, generator=torch.Generator().manual_seed(0))
    report: dict[str, Any] = {
        "machine": describe_machine("torch", "transformers", "ddetr-ops"),
        "load_average": os.getloadavg()[0],
        "threads": options.threads,
        "image_hw": list(options.size),
        "largest_difference": largest_difference(models, image),
        "inference": compare(models, image, options.repeats, infer),
        "step": compare(models, image, options.repeats, step),
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


def make_models() -> dict[str, nn.Module]:
    """The same weights in a model as it comes and in one built after the drop-in."""
    config = DeformableDetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=ResNetConfig(out_features=["stage2", "stage3", "stage4"]),
        disable_custom_kernels=True,
    )
    torch.manual_seed(0)
    plain = DeformableDetrForObjectDetection(config).eval()
    accelerate_transformers("deformable_detr")
    fast = DeformableDetrForObjectDetection(config).eval()
    fast.load_state_dict(plain.state_dict())
    return {"transformers": plain, "with_ddetr_ops": fast}


@torch.no_grad()
def largest_difference(models: dict[str, nn.Module], image: Tensor) -> dict[str, float]:
    """Of logits and boxes between the two models."""
    plain, fast = (model(pixel_values=image) for model in models.values())
    return {
        name: float((plain[name] - fast[name]).abs().max()) for name in ("logits", "pred_boxes")
    }


@torch.no_grad()
def infer(model: nn.Module, image: Tensor) -> None:
    """One forward pass."""
    model(pixel_values=image)


def step(model: nn.Module, image: Tensor) -> None:
    """One forward and backward pass."""
    output = model(pixel_values=image)
    (output.logits.sum() + output.pred_boxes.sum()).backward()
    model.zero_grad()


def compare(models: dict[str, nn.Module], image: Tensor, repeats: int, run: Any) -> dict[str, Any]:
    """Seconds of each model, and how much faster the second is."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(repeats + 1):
        for name, model in models.items():
            start = time.perf_counter()
            run(model, image)
            seconds[name].append(time.perf_counter() - start)
    figures: dict[str, Any] = {}
    for what, choose in (("min", min), ("median", statistics.median)):
        found = {name: choose(times[1:]) for name, times in seconds.items()}
        figures[f"{what}_seconds"] = {name: round(value, 4) for name, value in found.items()}
        figures[f"{what}_ratio"] = round(found["transformers"] / found["with_ddetr_ops"], 3)
    return figures


if __name__ == "__main__":
    main()
