"""Time a training step and an inference of ours and of Hugging Face's model, in one process.

    python benchmarks/bench_model.py [--repeats N] [--threads N] [--size HEIGHT WIDTH]

Both have the same random weights (ResNet-50, 6 + 6 layers, 300 queries, box refinement) and see the
same image with three objects. Every parameter of both is trained: transformers freezes its whole
backbone and ours the first stage of one that was loaded, so requires_grad is set on all of them.
The batch norms of both are frozen, as published: their statistics and factors are constants. The
decoder layers of transformers have one class head together, each of ours has its own; in all
other parts the numbers of trained parameters must be equal. Before anything is timed, outputs, loss
and the norm of those parts' gradient must agree, so that both are known to do the same work.

A step is the forward pass, the matching, all losses and the backward pass, each by the library's
own code, without an optimiser. The two take turns in an order that is drawn anew each repeat.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from machine import describe_machine
from torch import Tensor, nn
from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection, ResNetConfig

from ddetr_model import DeformableDETR, SetCriterion, import_checkpoint
from ddetr_model.backbones import freeze_batch_norms

RESULTS = Path(__file__).parent / "results"
CLASSES = 91
THEIRS, OURS = "transformers", "ddetr"
CLASS_HEADS = "class_embed."
# Other orders of summing, in float32: of the outputs, and of a loss and gradients of many terms.
ABSOLUTE_DIFFERENCE = 1e-4
RELATIVE_DIFFERENCE = 1e-3


class Sample(NamedTuple):
    """One image and its objects."""

    image: Tensor  # (1, 3, H, W)
    boxes: Tensor  # (3, 4) cxcywh, 0 to 1
    labels: Tensor  # (3,) int64


def main() -> None:
    """Compare, measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(544, 960))
    parser.add_argument("--output", type=Path, default=RESULTS / "model.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    theirs, ours = make_models()
    models: dict[str, nn.Module] = {THEIRS: theirs, OURS: ours}
    sample = make_sample(options.size)
    steps = {
        THEIRS: lambda: transformers_step(theirs, sample),
        OURS: lambda: our_step(ours, sample),
    }
    report: dict[str, Any] = {
        "machine": describe_machine("torch", "transformers", "ddetr-model"),
        "load_average": os.getloadavg()[0],
        "threads": options.threads,
        "image_hw": list(options.size),
        "batch_norms": "frozen in both",
        "trained_parameters": count_trained(models),
        "agreement": compare_work(models, steps, sample),
    }
    report["step"] = compare_seconds(steps, options.repeats)
    answers = {name: (lambda model=model: model(sample.image)) for name, model in models.items()}
    for model in models.values():
        model.eval()
    with torch.inference_mode():
        report["inference"] = compare_seconds(answers, options.repeats)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


def make_models() -> tuple[DeformableDetrForObjectDetection, DeformableDETR]:
    """Transformers' model and ours, read from its folder; all parameters of both are trained."""
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
    theirs = DeformableDetrForObjectDetection(config)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours, _ = import_checkpoint(folder)
    freeze_batch_norms(ours.backbone)
    return theirs.train().requires_grad_(True), ours.train().requires_grad_(True)


def make_sample(size_hw: tuple[int, int]) -> Sample:
    """Noise with three boxes, the same in every run."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, *size_hw, generator=generator)
    boxes = torch.rand(3, 4, generator=generator) * 0.4 + 0.1
    return Sample(image, boxes, torch.randint(CLASSES, (3,), generator=generator))


def outside_class_heads(model: nn.Module) -> list[nn.Parameter]:
    return [each for name, each in model.named_parameters() if not name.startswith(CLASS_HEADS)]


def count_trained(models: dict[str, nn.Module]) -> dict[str, dict[str, int]]:
    """Trained parameters of both, as a whole and without the class heads.

    Raises:
        SystemExit: the latter differ, a parameter is not trained, or a batch norm is not frozen.
    """
    for name, model in models.items():
        if any(not each.requires_grad for each in model.parameters()):
            sys.exit(f"bench_model: {name} has parameters that are not trained")
        if any(isinstance(each, nn.BatchNorm2d) for each in model.modules()):
            sys.exit(f"bench_model: {name} has batch norms that are not frozen")
    counts = {
        "all": {name: count(list(model.parameters())) for name, model in models.items()},
        "without_class_heads": {
            name: count(outside_class_heads(model)) for name, model in models.items()
        },
    }
    if len(set(counts["without_class_heads"].values())) != 1:
        sys.exit(f"bench_model: unlike work, the numbers of trained parameters are {counts}")
    return counts


def count(parameters: list[nn.Parameter]) -> int:
    return sum(each.numel() for each in parameters)


def compare_work(
    models: dict[str, nn.Module], steps: dict[str, Callable[[], float]], sample: Sample
) -> dict[str, Any]:
    """Outputs, losses and gradients of one step.

    Raises:
        SystemExit: they differ by more than rounding.
    """
    theirs, ours = (model(sample.image) for model in (models[THEIRS], models[OURS]))
    differences = {
        "logits": float((theirs.logits - ours.pred_logits).abs().max().detach()),
        "boxes": float((theirs.pred_boxes - ours.pred_boxes).abs().max().detach()),
    }
    losses, norms = {}, {}
    for name, step in steps.items():
        losses[name] = step()
        gradients = [each.grad for each in outside_class_heads(models[name])]
        if any(gradient is None for gradient in gradients):
            sys.exit(f"bench_model: {name} has parameters without a gradient")
        norms[name] = float(torch.nn.utils.get_total_norm(gradients))
    agree = (
        max(differences.values()) <= ABSOLUTE_DIFFERENCE
        and math.isclose(losses[THEIRS], losses[OURS], rel_tol=RELATIVE_DIFFERENCE)
        and math.isclose(norms[THEIRS], norms[OURS], rel_tol=RELATIVE_DIFFERENCE)
    )
    found = {"largest_difference": differences, "loss": losses, "gradient_norm": norms}
    return found if agree else sys.exit(f"bench_model: the models do unlike work: {found}")


def transformers_step(model: DeformableDetrForObjectDetection, sample: Sample) -> float:
    """Forward, losses and backward by transformers, weighted as published; the summed loss."""
    model.zero_grad()
    labels = [{"boxes": sample.boxes, "class_labels": sample.labels}]
    losses = model(sample.image, labels=labels).loss_dict
    weights = {"loss_ce": 2.0, "loss_bbox": 5.0, "loss_giou": 2.0}
    total = sum(
        weights["_".join(name.split("_")[:2])] * value
        for name, value in losses.items()
        if name.startswith("loss_")
    )
    total.backward()
    return float(total.detach())


def our_step(model: DeformableDETR, sample: Sample) -> float:
    """Forward, losses and backward by ours; the summed loss."""
    model.zero_grad()
    criterion = SetCriterion(model.losses)
    targets = [{"boxes": sample.boxes, "labels": sample.labels}]
    total = criterion.total_loss(criterion(model(sample.image), targets))
    total.backward()
    return float(total.detach())


def compare_seconds(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Any]:
    """Seconds of each and how much faster ours is; a first round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for repeat in range(repeats + 1):
        random.shuffle(order)
        for name in order:
            start = time.perf_counter()
            runs[name]()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    figures: dict[str, Any] = {"repeats": repeats}
    for what, choose in (("min", min), ("median", statistics.median)):
        found = {name: choose(times) for name, times in seconds.items()}
        figures[f"{what}_seconds"] = {name: round(value, 4) for name, value in found.items()}
        figures[f"{what}_ratio"] = round(found[THEIRS] / found[OURS], 3)
    return figures


if __name__ == "__main__":
    main()
