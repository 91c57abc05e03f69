"""What each part of a training recipe brings from random weights, with images seen counted.

    python benchmarks/bench_recipes.py demo                           # every recipe, three seeds
    python benchmarks/bench_recipes.py demo_short --only best resnet18  # some of them
    python benchmarks/bench_recipes.py bccd --seeds 1    # with DDETR_DATA, as fruits18

A recipe is the set's spec with some keys changed. Each run trains as a user would, then scores the
best checkpoint on the test images, which training never saw. Every finished run is written to
results/recipes_SET.json at once and not run again, so that the script goes on where it stopped;
`--again` forgets the runs that are named. Threads are those of OMP_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench_pipeline import RESULTS, SPECS, real_set
from machine import describe_machine
from recipes import RECIPES, Recipe

CURVE = ("train_loss", "val_AP", "val_AP50")
FIGURES = ("AP", "AP50", "AP75", "AR100")


def main() -> None:
    """Run what is missing of the recipes that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=RECIPES)
    parser.add_argument("--only", nargs="+", metavar="RECIPE", help="recipes; all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--again", action="store_true", help="forget the runs of these recipes")
    arguments = parser.parse_args()
    recipes = RECIPES[arguments.set]
    names = arguments.only or list(recipes)
    unknown = sorted(set(names) - recipes.keys())
    if unknown:
        parser.error(f"no recipe is called {', '.join(unknown)}; there are {', '.join(recipes)}")
    record = Record(RESULTS / f"recipes_{arguments.set}.json", list(recipes))
    if arguments.again:
        record.forget(names)
    for seed in range(arguments.seeds):
        for name in names:
            if not record.has(name, recipes[name], seed):
                with tempfile.TemporaryDirectory(prefix="ddetr-recipe-") as folder:
                    record.add(
                        name,
                        recipes[name],
                        seed,
                        train(arguments.set, recipes[name], seed, Path(folder)),
                    )
    print(record.table())


class Record:
    """The runs so far, in a file that is whole after each of them."""

    def __init__(self, path: Path, order: list[str]) -> None:
        self.path = path
        self.order = order
        self.content: dict[str, Any] = {}
        if path.is_file():
            self.content = json.loads(path.read_text("utf-8"))

    def has(self, name: str, recipe: Recipe, seed: int) -> bool:
        """Say whether this very recipe has been run with this seed."""
        entry = self.content.get(name)
        return entry is not None and entry["keys"] == recipe and str(seed) in entry["runs"]

    def forget(self, names: list[str]) -> None:
        """Drop the runs of some recipes."""
        for name in names:
            self.content.pop(name, None)

    def add(self, name: str, recipe: Recipe, seed: int, run: Mapping[str, Any]) -> None:
        """Keep one run; those of a recipe that has changed since go."""
        entry = self.content.get(name)
        if entry is None or entry["keys"] != recipe:
            entry = self.content[name] = {"keys": recipe, "runs": {}}
        entry["runs"][str(seed)] = run
        entry["median"] = {
            figure: round(statistics.median(each[figure] for each in entry["runs"].values()), 4)
            for figure in (*FIGURES, "minutes", "images")
        }
        self.content = {each: self.content[each] for each in self.order if each in self.content}
        draft = self.path.with_suffix(".part")
        draft.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        draft.replace(self.path)

    def table(self) -> str:
        """Show the medians, a recipe a line, in Markdown."""
        lines = ["| recipe | seeds | images | minutes | AP | AP50 |", "|---|---|---|---|---|---|"]
        for name, entry in self.content.items():
            median = entry["median"]
            lines.append(
                f"| {name} | {len(entry['runs'])} | {median['images']:.0f} | "
                f"{median['minutes']:.1f} | {median['AP']:.3f} | {median['AP50']:.3f} |"
            )
        return "\n".join(lines)


def train(name: str, recipe: Recipe, seed: int, folder: Path) -> dict[str, Any]:
    """Train and score one recipe in an empty folder."""
    spec = SETS[name](folder)
    results = folder / "results"
    overrides = [f"results_dir={results}", f"train.seed={seed}"]
    overrides += [f"{key}={json.dumps(value)}" for key, value in recipe.items()]
    before = children_seconds()
    ddetr(folder, "train", "-e", spec, *overrides)
    seconds = children_seconds() - before
    checkpoint = f"evaluate.checkpoint={results / 'train' / 'dd_model_best.pth'}"
    ddetr(folder, "evaluate", "-e", spec, *overrides, checkpoint)
    run = curve_of(results / "train" / "status.json")
    overall = json.loads((results / "evaluate" / "results.json").read_text("utf-8"))["overall"]
    run |= {figure: round(overall[figure], 4) for figure in FIGURES}
    run["images"] = images_of(folder) * run["epochs"]
    run["processor_minutes"] = round(seconds / 60, 2)
    run["machine"] = describe_machine("torch", "ddetr-cli") | {
        "threads": int(os.environ.get("OMP_NUM_THREADS", "0"))
    }
    return run


def curve_of(status: Path) -> dict[str, Any]:
    """Read minutes, epochs and the validations of a training."""
    lines = [json.loads(line) for line in status.read_text("utf-8").splitlines()]
    moments = [datetime.fromisoformat(f"{line['date']}T{line['time']}") for line in lines]
    minutes = [round((moment - moments[0]).total_seconds() / 60, 2) for moment in moments]
    epochs = [
        (minute, line)
        for minute, line in zip(minutes, lines, strict=True)
        if "train_loss" in line["kpi"] and line["epoch"] is not None
    ]
    return {
        "ended": lines[-1]["status"],
        "minutes": minutes[-1],
        "epochs": len(epochs),
        "curve": [
            {"epoch": line["epoch"] + 1, "minutes": minute}
            | {figure: round(line["kpi"][figure], 4) for figure in CURVE}
            for minute, line in epochs
            if "val_AP" in line["kpi"]
        ],
    }


def images_of(folder: Path) -> int:
    """Count the training images of the set in a folder."""
    labels = json.loads((folder / "train.json").read_text("utf-8"))
    return len(labels["images"])


def children_seconds() -> float:
    """Give the processor time of all commands so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def ddetr(folder: Path, *words: str | Path) -> None:
    """Run one command to its end; what it says is kept in the folder and shown if it fails."""
    command = [sys.executable, "-m", "ddetr_cli", *map(str, words)]
    log = folder / "log.txt"
    with log.open("w", encoding="utf-8") as stream:
        ended = subprocess.run(command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT)
    if ended.returncode:
        sys.exit(f"{' '.join(command)}\n{log.read_text('utf-8')}")


def prepare_demo(folder: Path) -> Path:
    """Draw the demo's set and write its spec."""
    from ddetr_cli.commands.demo import NUM_IMAGES, draw_dataset, write_spec

    draw_dataset(folder, NUM_IMAGES, seed=0)
    shutil.copy(folder / "data" / "annotations" / "instances_train.json", folder / "train.json")
    return write_spec(folder)


def prepare_real(name: str, spec_name: str, folder: Path) -> Path:
    """Write a spec of docs/specs with the real folder in it."""
    data = real_set(name)
    shutil.copy(data / "annotations" / "instances_train.json", folder / "train.json")
    text = (SPECS / spec_name).read_text("utf-8").replace(f"/data/{name}", str(data))
    spec = folder / "spec.yaml"
    spec.write_text(text, encoding="utf-8")
    return spec


SETS: dict[str, Callable[[Path], Path]] = {
    "demo": prepare_demo,
    "demo_short": prepare_demo,
    "fruits18": partial(prepare_real, "fruits18", "fruits18_overfit.yaml"),
    "bccd": partial(prepare_real, "bccd", "bccd_from_scratch.yaml"),
}

if __name__ == "__main__":
    main()
