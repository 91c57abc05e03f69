"""Write benchmarks/README.md: one table of what was measured, from benchmarks/results.

    python scripts/benchmark_table.py [--check]

--check writes nothing and fails if the file is not what the results say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from generated import write_or_check

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
TARGET = BENCHMARKS / "README.md"
HEAD = """# What was measured

Made by `python scripts/benchmark_table.py` from `results/`; do not edit. Each row names the script
that measured it and the processor. Peers do equal work in the same process, one after the other in
a drawn order, and their outputs are compared first; figures are medians. "T1" and "T2" are one and
two threads; "2.5x" is two and a half times as fast as the peer. Machines are shared: a figure of
one run moves by a tenth. A result that is older than the code was not measured again since.

| work | figure | peer | script | processor, date |
|---|---|---|---|---|
"""
FOOT = """
How time and memory grow (`bench_growth.py`, one thread; dotted: linear growth). An exponent of 1 is
linear. Memory is what comes on top of what the process holds already, so that small values hide in
it and their exponents are too large. Beyond a thousand queries time and memory of a training step
grow faster than linearly: queries attend to each other, which takes the square of their number.

![growth](results/growth.png)
"""


WEIGHT = """
What `pip install` of a package brings (`python -m benchmarks.bench_weight`; {cpu}, {date}):
megabytes on the disk of all that `torch` and `torchvision` do not bring by themselves (a package
that requires no torch bears the whole), how many distributions these are, and how long the package
alone takes to import, for ddetr-ops behind `import torch`. "Before" is commit {before}.

| `pip install` | MB | before | distributions | before | import, ms | before |
|---|---|---|---|---|---|---|
"""


class Row(NamedTuple):
    """A line of the table: what was done, against whom, and how the figure is read."""

    work: str
    peer: str
    result: str  # of results/<result>.json, by bench_<script>.py
    figure: Callable[[dict[str, Any]], str]
    script: str = ""


THEIRS = "transformers, eager, float32"


def by_threads(kind: str, name: str) -> Callable[[dict[str, Any]], str]:
    """The ratio of one form of bench_model, with one and with two threads."""

    def figure(result: dict[str, Any]) -> str:
        measured = {count: result.get(f"threads_{count}") for count in (1, 2)}
        return ", ".join(
            f"T{count} {times(found[kind]['ratio'][name])}"
            for count, found in measured.items()
            if found is not None
        )

    return figure


def memory_share(name: str) -> Callable[[dict[str, Any]], str]:
    """Peak memory of a step, as a part of transformers'."""

    def figure(result: dict[str, Any]) -> str:
        used = result["memory_of_a_step_mib"]
        return f"{used[name] / used['transformers']:.2f} of its memory ({used[name]:.0f} MiB)"

    return figure


def exported(name: str) -> Callable[[dict[str, Any]], str]:
    """How much faster than transformers' file in ONNX Runtime."""
    return lambda result: times(1 / result["figures"][name]["times_hugging_face"])


def loading(name: str) -> Callable[[dict[str, Any]], str]:
    """Images a second of one process, beside transformers' processor."""

    def figure(result: dict[str, Any]) -> str:
        ratio = result[name]["times_as_fast"]["hf_image_processor"]
        return f"{times(ratio)}, {result[name]['images_per_second']['ddetr_data']:.0f} images/s"

    return figure


def operator(case: str) -> Callable[[dict[str, Any]], str]:
    """Forward and backward with one thread."""

    def figure(result: dict[str, Any]) -> str:
        (row,) = (row for row in result["rows"] if (row["case"], row["threads"]) == (case, 1))
        forward, backward = (row[each]["ratio_of_medians"] for each in ("forward", "backward"))
        return f"forward {times(forward)}, backward {times(backward)}"

    return figure


def times(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio < 10 else f"{ratio:.0f}x"


ROWS = (
    Row(
        "inference 960x544, batch 1: inference form, float32",
        THEIRS,
        "model",
        by_threads("inference", "form fp32"),
    ),
    Row("the same, compiled", THEIRS, "model", by_threads("inference", "compiled fp32")),
    Row("the form in bfloat16", THEIRS, "model", by_threads("inference", "form bf16")),
    Row("the same, compiled", THEIRS, "model", by_threads("inference", "compiled bf16")),
    Row("training step 640x480, batch 2, float32", THEIRS, "model", by_threads("step", "ddetr")),
    Row("the same in bfloat16", THEIRS, "model", by_threads("step", "ddetr bf16")),
    Row("peak memory of that step, float32", THEIRS, "model", memory_share("ddetr")),
    Row("the same in bfloat16", THEIRS, "model", memory_share("ddetr bf16")),
    Row(
        "matching and losses, 6 layers, 4 images of 30 boxes",
        THEIRS,
        "model",
        by_threads("criterion", "ddetr"),
    ),
    Row(
        "exported file 960x544 in ONNX Runtime",
        "transformers' file in ONNX Runtime",
        "export",
        exported("ours, opset 12, gather"),
    ),
    Row(
        "the same in OpenVINO, float32",
        "transformers' file in ONNX Runtime",
        "export",
        exported("ours, opset 12, gather, OpenVINO fp32"),
    ),
    Row(
        "the same in OpenVINO, bfloat16",
        "transformers' file in ONNX Runtime",
        "export",
        exported("ours, opset 12, gather, OpenVINO bf16"),
    ),
    Row(
        "attention operator, encoder of 1066x800, batch 1",
        "eager `grid_sample`",
        "ops_avx512_float32",
        operator("encoder 800x1066 N1"),
        "ops",
    ),
    Row(
        "the same, batch 2",
        "eager `grid_sample`",
        "ops_avx512_float32",
        operator("encoder 800x1066 N2"),
        "ops",
    ),
    Row(
        "the same, decoder, batch 1",
        "eager `grid_sample`",
        "ops_avx512_float32",
        operator("decoder 800x1066 N1"),
        "ops",
    ),
    Row(
        "the operator in bfloat16, encoder of 1066x800, batch 1",
        "itself in float32",
        "ops_avx512_bfloat16_beside_float32",
        operator("encoder 800x1066 N1"),
        "ops",
    ),
    Row(
        "the same, decoder, batch 1",
        "itself in float32",
        "ops_avx512_bfloat16_beside_float32",
        operator("decoder 800x1066 N1"),
        "ops",
    ),
    Row(
        "training images of one worker, blood cells",
        "transformers' image processor",
        "data",
        loading("bccd"),
    ),
    Row("the same, COCO", "transformers' image processor", "data", loading("coco_permissive")),
    Row(
        "COCO scores of 5,000 images with 100 detections each",
        "pycocotools, the same twelve figures",
        "judge",
        lambda result: f"{times(result['times_as_fast'])}, {result['seconds']['ddetr_data']:.1f} s",
    ),
    Row(
        "`ddetr inference` of 1080p photographs with a network of 5 ms",
        "one image after the other",
        "inference",
        lambda result: "{} images/s, not {}; {:.2f} of the least wall time".format(
            result["batch_1"]["pipeline"]["images_per_second"],
            result["batch_1"]["before"]["images_per_second"],
            result["batch_1"]["pipeline"]["wall_over_cpu"],
        ),
    ),
    Row(
        "opening labels of a million images",
        "",
        "labels",
        lambda result: "{:.1f} GiB at its peak, {:.0f} s".format(
            result["1000000"]["plain"]["peak_mib"] / 1024, result["1000000"]["plain"]["seconds"]
        ),
    ),
    Row(
        "what is wrong in a spec; `ddetr --help`",
        "",
        "commands",
        lambda result: "{:.2f} s; {:.2f} s".format(
            result["median_seconds"]["ddetr train, unknown_key"],
            result["median_seconds"]["ddetr --help"],
        ),
    ),
    Row(
        "AP of blood cells in bfloat16",
        "the same checkpoint in float32",
        "precision",
        lambda result: "{AP} and not {plain}".format(
            AP=result["precisions"]["bf16"]["AP"], plain=result["precisions"]["fp32"]["AP"]
        ),
    ),
)


def page() -> str:
    """The whole file."""
    return HEAD + "".join(lines()) + "".join(weights()) + FOOT


def weights() -> Iterator[str]:
    """What an installation weighs, a line a package."""
    result = json.loads((BENCHMARKS / "results" / "weight.json").read_text("utf-8"))
    now, before = result["now"]["packages"], result["before"]["packages"]
    yield WEIGHT.format(**result["machine"], before=result["before"]["commit"])
    for package, figures in now.items():
        pairs = (
            f"{figures[name]:g} | {before[package][name]:g}"
            for name in ("megabytes", "distributions", "import_ms")
        )
        yield f"| `{package}` | {' | '.join(pairs)} |\n"


def lines() -> Iterator[str]:
    """One line a row."""
    for row in ROWS:
        result = json.loads((BENCHMARKS / "results" / f"{row.result}.json").read_text("utf-8"))
        machine = result["machine"]
        script = f"`bench_{row.script or row.result}.py`"
        where = f"{machine['cpu']}, {machine['date']}"
        yield f"| {row.work} | {row.figure(result)} | {row.peer} | {script} | {where} |\n"


if __name__ == "__main__":
    write_or_check(TARGET, page, __doc__)
