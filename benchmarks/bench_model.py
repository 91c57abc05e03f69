"""Time a training step and an inference of ours and of Hugging Face's model, in one process.

    python benchmarks/bench_model.py [--repeats N] [--processes N] [--threads N ...] [--compile]

Both have the same random weights (ResNet-50, 6 + 6 layers, 300 queries, box refinement) and see the
same images with three objects. Every parameter of both is trained: transformers freezes its whole
backbone and ours the first stage of one that was loaded, so requires_grad is set on all of them.
The batch norms of both are frozen, as published: their statistics and factors are constants. The
decoder layers of transformers have one class head together, each of ours has its own; in all
other parts the numbers of trained parameters must be equal. Before anything is timed, outputs, loss
and the norm of those parts' gradient must agree, so that all are known to do the same work; what
computes in 16 bits must agree within the rounding of 16 bits.

A step is the forward pass, the matching, all losses and the backward pass, each by the library's
own code, without an optimiser; ours has the layers that `ddetr train` uses. All take turns in an
order that is drawn anew each repeat. The figures are medians over several processes of the medians
of each. Memory is the most that a process's first step adds to what it held before.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from machine import describe_machine, status_kib
from torch import Tensor, nn
from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection, ResNetConfig

from ddetr_model import (
    DeformableDETR,
    DetectorOutput,
    LayerOutput,
    SetCriterion,
    import_checkpoint,
    inference_form,
    use_fast_layers,
)
from ddetr_model.backbones import freeze_batch_norms

RESULTS = Path(__file__).parent / "results"
CLASSES = 91
THEIRS, OURS = "transformers", "ddetr"
CLASS_HEADS = "class_embed."
INFERENCE_HW, INFERENCE_BATCH = (544, 960), 1
STEP_HW, STEP_BATCH = (480, 640), 2
# Other orders of summing, in float32: of the outputs, and of a loss and gradients of many terms.
# In 16 bits: 8 bits of mantissa through a hundred layers.
ABSOLUTE_DIFFERENCE = {"fp32": 1e-4, "bf16": 5e-2}
RELATIVE_DIFFERENCE = {"fp32": 1e-3, "bf16": 5e-2}


class Sample(NamedTuple):
    """Images and their objects."""

    images: Tensor  # (B, 3, H, W)
    boxes: list[Tensor]  # (3, 4) cxcywh, 0 to 1
    labels: list[Tensor]  # (3,) int64


def main() -> None:
    """Measure in processes of their own, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--compile", action="store_true", help="also the compiled inference form")
    parser.add_argument("--output", type=Path, default=RESULTS / "model.json")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        torch.set_num_threads(options.threads[0])
        sys.stdout.write(json.dumps(PARTS[options.part](options)) + "\n")
        return
    report: dict[str, Any] = {
        "machine": describe_machine("torch", "transformers", "ddetr-model"),
        "load_average": os.getloadavg()[0],
        "processes": options.processes,
        "repeats": options.repeats,
        "batch_norms": "frozen in both",
        "memory_of_a_step_mib": {part: run_part(part, 1, options) for part in MEMORY},
    }
    for threads in options.threads:
        runs = [run_part("time", threads, options) for _ in range(options.processes)]
        report[f"threads_{threads}"] = {
            name: {kind: medians([run[name][kind] for run in runs]) for kind in runs[0][name]}
            for name in ("inference", "step", "criterion")
        }
        report["agreement"] = runs[-1]["agreement"]
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


def run_part(part: str, threads: int, options: argparse.Namespace) -> Any:
    """Run this script for one part and read what it prints last."""
    command = [sys.executable, __file__, "--part", part, "--threads", str(threads)]
    command += ["--repeats", str(options.repeats)] + ["--compile"] * options.compile
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"bench_model: the part {part} ended with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure over the processes."""
    return {name: round(statistics.median(run[name] for run in runs), 4) for name in runs[0]}


def time_all(options: argparse.Namespace) -> dict[str, Any]:
    """Compare the work, then time inference, step and criterion."""
    theirs, ours = make_models()
    fast = deepcopy(ours)
    use_fast_layers(fast)
    sample = make_sample(STEP_HW, STEP_BATCH)
    steps = {
        THEIRS: lambda: transformers_step(theirs, sample),
        OURS: lambda: our_step(fast, sample),
        f"{OURS} bf16": lambda: our_step(fast, sample, torch.bfloat16),
    }
    count_trained({THEIRS: theirs, OURS: fast})
    networks: dict[str, nn.Module] = {THEIRS: theirs, OURS: fast, f"{OURS} bf16": fast}
    agreement = {"step": compare_steps(networks, steps)}
    found = {"step": compare_seconds(steps, options.repeats)}
    criteria = make_criteria(theirs, ours)
    agreement["criterion"] = compare_losses({name: run() for name, run in criteria.items()}, "fp32")
    found["criterion"] = compare_seconds(criteria, 3 * options.repeats)
    for model in (theirs, ours):
        model.eval().requires_grad_(False)
    forms: dict[str, Callable[[Tensor], Any]] = {THEIRS: theirs, OURS: ours}
    for precision in ("fp32", "bf16"):
        forms[f"form {precision}"] = inference_form(ours, precision=precision)
        if options.compile:
            compiled = inference_form(ours, precision=precision, compile=True)
            forms[f"compiled {precision}"] = compiled
    images = make_sample(INFERENCE_HW, INFERENCE_BATCH).images
    with torch.inference_mode():
        agreement["inference"] = compare_outputs(forms, images)
        answers = {name: (lambda form=form: form(images)) for name, form in forms.items()}
        found["inference"] = compare_seconds(answers, options.repeats)
    return {**found, "agreement": agreement}


def memory_of_step(precision: str | None) -> float:
    """MiB that the first step adds at its peak: transformers' for None, else ours."""
    theirs, ours = make_models()
    sample = make_sample(STEP_HW, STEP_BATCH)
    use_fast_layers(ours)
    dtype = torch.bfloat16 if precision == "bf16" else None
    Path("/proc/self/clear_refs").write_text("5")
    before = status_kib("VmRSS")
    transformers_step(theirs, sample) if precision is None else our_step(ours, sample, dtype)
    return round((status_kib("VmHWM") - before) / 1024, 1)


MEMORY: dict[str, Callable[[Any], Any]] = {
    THEIRS: lambda _options: memory_of_step(None),
    OURS: lambda _options: memory_of_step("fp32"),
    f"{OURS} bf16": lambda _options: memory_of_step("bf16"),
}
PARTS: dict[str, Callable[[Any], Any]] = {"time": time_all, **MEMORY}


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


def make_sample(size_hw: tuple[int, int], batch: int, boxes: int = 3) -> Sample:
    """Noise with a few boxes, the same in every run."""
    generator = torch.Generator().manual_seed(0)
    return Sample(
        torch.randn(batch, 3, *size_hw, generator=generator),
        [torch.rand(boxes, 4, generator=generator) * 0.4 + 0.1 for _ in range(batch)],
        [torch.randint(CLASSES, (boxes,), generator=generator) for _ in range(batch)],
    )


def outside_class_heads(model: nn.Module) -> list[nn.Parameter]:
    return [each for name, each in model.named_parameters() if not name.startswith(CLASS_HEADS)]


def count_trained(models: dict[str, nn.Module]) -> None:
    """Raise SystemExit if the models train unlike numbers of parameters, or batch norms."""
    for name, model in models.items():
        if any(not each.requires_grad for each in model.parameters()):
            sys.exit(f"bench_model: {name} has parameters that are not trained")
        if any(isinstance(each, nn.BatchNorm2d) for each in model.modules()):
            sys.exit(f"bench_model: {name} has batch norms that are not frozen")
    counts = {
        name: sum(each.numel() for each in outside_class_heads(model))
        for name, model in models.items()
    }
    if len(set(counts.values())) != 1:
        sys.exit(f"bench_model: unlike work, the numbers of trained parameters are {counts}")


def precision_of(name: str) -> str:
    return "bf16" if name.endswith("bf16") else "fp32"


def compare_outputs(
    forms: dict[str, Callable[[Tensor], Any]], images: Tensor
) -> dict[str, dict[str, float]]:
    """Largest differences from transformers' outputs; SystemExit where they are no rounding."""
    outputs = {name: form(images) for name, form in forms.items()}
    wanted, found = outputs.pop(THEIRS), {}
    for name, output in outputs.items():
        found[name] = {
            "logits": float((wanted.logits - output.pred_logits).abs().max()),
            "boxes": float((wanted.pred_boxes - output.pred_boxes).abs().max()),
        }
        if max(found[name].values()) > ABSOLUTE_DIFFERENCE[precision_of(name)]:
            sys.exit(f"bench_model: {name} does unlike work: {found[name]}")
    return found


def compare_steps(
    networks: dict[str, nn.Module], steps: dict[str, Callable[[], float]]
) -> dict[str, dict[str, float]]:
    """Losses and gradients of one step; SystemExit where they differ by more than rounding."""
    losses, norms = {}, {}
    for name, step in steps.items():
        losses[name] = step()
        gradients = [each.grad for each in outside_class_heads(networks[name])]
        if any(gradient is None for gradient in gradients):
            sys.exit(f"bench_model: {name} has parameters without a gradient")
        norms[name] = float(torch.nn.utils.get_total_norm(gradients))
    for name in steps:
        for figures in (losses, norms):
            compare_losses({THEIRS: figures[THEIRS], name: figures[name]}, precision_of(name))
    return {"loss": losses, "gradient_norm": norms}


def compare_losses(losses: dict[str, float], precision: str) -> dict[str, float]:
    """Give them back; SystemExit where they differ by more than rounding."""
    tolerance = RELATIVE_DIFFERENCE[precision]
    if not all(math.isclose(losses[THEIRS], each, rel_tol=tolerance) for each in losses.values()):
        sys.exit(f"bench_model: unlike work: {losses}")
    return losses


def transformers_step(model: DeformableDetrForObjectDetection, sample: Sample) -> float:
    """Forward, losses and backward by transformers, weighted as published; the summed loss."""
    model.zero_grad()
    loss_dict = model(sample.images, labels=their_targets(sample)).loss_dict
    return backward_of(their_total(loss_dict))


def their_targets(sample: Sample) -> list[dict[str, Tensor]]:
    pairs = zip(sample.boxes, sample.labels, strict=True)
    return [{"boxes": boxes, "class_labels": labels} for boxes, labels in pairs]


def their_total(losses: dict[str, Tensor]) -> Any:
    weights = {"loss_ce": 2.0, "loss_bbox": 5.0, "loss_giou": 2.0}
    return sum(
        weights["_".join(name.split("_")[:2])] * value
        for name, value in losses.items()
        if name.startswith("loss_")
    )


def our_step(model: DeformableDETR, sample: Sample, dtype: torch.dtype | None = None) -> float:
    """Forward, losses and backward by ours, in 16 bits if dtype says so; the summed loss."""
    model.zero_grad()
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        outputs = model(sample.images)
    return our_losses(SetCriterion(model.losses), outputs, sample)


def our_losses(criterion: SetCriterion, outputs: DetectorOutput, sample: Sample) -> float:
    pairs = zip(sample.boxes, sample.labels, strict=True)
    targets = [{"boxes": boxes, "labels": labels} for boxes, labels in pairs]
    return backward_of(criterion.total_loss(criterion(outputs, targets)))


def backward_of(total: Tensor) -> float:
    total.backward()
    return float(total.detach())


def make_criteria(
    theirs: DeformableDetrForObjectDetection, ours: DeformableDETR
) -> dict[str, Callable[[], float]]:
    """Matching, losses and their gradients alone: 6 layers, 4 images of 30 boxes."""
    sample = make_sample((32, 32), 4, boxes=30)
    generator = torch.Generator().manual_seed(1)
    layers = [
        LayerOutput(
            (torch.randn(4, 300, CLASSES, generator=generator) - 4).requires_grad_(),
            (torch.rand(4, 300, 4, generator=generator) * 0.5 + 0.1).requires_grad_(),
        )
        for _ in range(6)
    ]
    logits, boxes = (torch.stack(list(each)).detach() for each in zip(*layers, strict=True))
    logits.requires_grad_()
    boxes.requires_grad_()
    criterion = SetCriterion(ours.losses)

    def their_losses() -> float:
        _, losses, _ = theirs.loss_function(
            logits[-1], their_targets(sample), "cpu", boxes[-1], theirs.config, logits, boxes
        )
        return backward_of(their_total(losses))

    outputs = DetectorOutput(*layers[-1], tuple(layers[:-1]), None, None)
    return {THEIRS: their_losses, OURS: lambda: our_losses(criterion, outputs, sample)}


def compare_seconds(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Any]:
    """Median seconds of each and how much faster than transformers; a first round is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for repeat in range(repeats + 1):
        random.shuffle(order)
        for name in order:
            start = time.perf_counter()
            runs[name]()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    found = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "seconds": found,
        "ratio": {name: found[THEIRS] / each for name, each in found.items() if name != THEIRS},
    }


if __name__ == "__main__":
    main()
