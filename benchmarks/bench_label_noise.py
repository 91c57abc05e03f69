"""How many planted faults of labels `ddetr check --with-model` lists, and how many others.

    python benchmarks/bench_label_noise.py                # draw, train twice, check; 20 minutes
    python benchmarks/bench_label_noise.py --folder DIR   # keeps DIR, and goes on in it
    python benchmarks/bench_label_noise.py --only truth   # without training: two minutes

The set and the training are those of `ddetr demo`. Faults are planted (planted_noise.py) into the
1,600 training images and into 400 images that no detector saw. One detector learns the clean
labels, one the faulty ones; each looks through both. A third is no network: it gives the true
boxes, each side off by up to 5 %, with scores from 0.4 to 0.9, and misses one object in ten; what
it does not find is what the rules lose. Precision and recall of each kind are those of
the list at its defaults: a finding counts where its kind and its object are those of a fault.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from planted_noise import FRACTIONS, WRONG_BOX_IOU, Row, iou, plant

from ddetr_cli.commands.demo import IMAGE_SIZE_HW, NUM_CLASSES, NUM_IMAGES, OBJECT_SIZE, OBJECTS
from ddetr_data import Category, DatasetConfig, DataSource, Detections, Detector, ImageLike
from ddetr_data.detection import find_label_noise
from ddetr_data.synthetic import make_dataset

RESULTS = Path(__file__).parent / "results"
SEED = 0
UNSEEN = 400  # images of the split that no detector saw
CHECKED = ("train", "unseen")
DETECTORS = ("truth", "clean", "noisy")
OFF, SCORES, MISSED = 0.05, (0.4, 0.9), 0.1  # of the one that knows the truth
SAME_BOX_IOU = 0.5  # from which a listed box is that of a missing object


def main() -> None:
    """Do what is not done yet in the folder, and write results/label_noise.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="to keep images and trainings")
    parser.add_argument("--only", choices=DETECTORS, action="append", help="some of the detectors")
    arguments = parser.parse_args()
    given = arguments.folder
    with tempfile.TemporaryDirectory(prefix="ddetr-bench-") as scratch:
        folder = given.resolve() if given else Path(scratch)
        report = measure(folder, arguments.only or DETECTORS)
    report["machine"] = describe_machine("torch", "ddetr-cli")
    text = json.dumps(report, indent=2) + "\n"
    (RESULTS / "label_noise.json").write_text(text, encoding="utf-8")
    print(text, end="")


def measure(folder: Path, detectors: Sequence[str]) -> dict[str, Any]:
    """Draw, plant, train and check in a folder."""
    spec = draw(folder)
    planted = {split: plant_into(folder, split) for split in CHECKED}
    report: dict[str, Any] = {
        "images": {"train": NUM_IMAGES["train"], "unseen": UNSEEN},
        "planted": {split: counts(rows) for split, rows in planted.items()},
        "fractions": FRACTIONS,
        "wrong_box_iou": list(WRONG_BOX_IOU),
        "detectors": {},
    }
    if "truth" in detectors:
        report["detectors"]["truth"] = {
            split: compare(listed_by_truth(folder, split), planted[split]) for split in CHECKED
        }
    for labels in (each for each in detectors if each != "truth"):
        results = train(folder, spec, labels)
        report["detectors"][labels] = {
            "val_AP": round(best_ap(results), 4),
            **{split: check(folder, spec, results, split, planted[split]) for split in CHECKED},
        }
    return report


def draw(folder: Path) -> Path:
    """Draw the demo's images and write its spec."""
    spec = folder / "spec.yaml"
    if not spec.is_file():
        make_dataset(
            folder / "data",
            num_images={"train": NUM_IMAGES["train"], "val": NUM_IMAGES["val"], "unseen": UNSEEN},
            image_size_hw=IMAGE_SIZE_HW,
            num_classes=NUM_CLASSES,
            objects=OBJECTS,
            object_size=OBJECT_SIZE,
            seed=SEED,
        )
        template = files("ddetr_cli").joinpath("demo_spec.yaml").read_text("utf-8")
        spec.write_text(template.replace("DEMO_FOLDER", str(folder)), encoding="utf-8")
    return spec


def plant_into(folder: Path, split: str) -> list[Row]:
    """Write the faulty labels of a split; gives what was planted."""
    clean = json.loads(labels_file(folder, split, "clean").read_text("utf-8"))
    noisy, planted = plant(clean, SEED)
    labels_file(folder, split, "noisy").write_text(json.dumps(noisy), encoding="utf-8")
    return planted


def labels_file(folder: Path, split: str, labels: str) -> Path:
    """Where the labels of a split are."""
    name = f"instances_{split}.json" if labels == "clean" else f"noisy_{split}.json"
    return folder / "data" / "annotations" / name


def sources(folder: Path, split: str, labels: str) -> str:
    """Name a split's images with some labels, as a spec does."""
    file = labels_file(folder, split, labels)
    return json.dumps([{"image_dir": str(folder / "data/images" / split), "json_file": str(file)}])


def train(folder: Path, spec: Path, labels: str) -> Path:
    """Train on clean or on faulty labels, or go on with that; gives the results folder."""
    results = folder / labels
    data = f"dataset.train_data_sources={sources(folder, 'train', labels)}"
    run("train", "-e", str(spec), f"results_dir={results}", data, f"train.seed={SEED}")
    return results / "train"


def best_ap(results: Path) -> float:
    """Read the best score of a training on the clean validation images."""
    lines = map(json.loads, (results / "status.json").read_text("utf-8").splitlines())
    return max(line["kpi"]["val_AP"] for line in lines if "val_AP" in line["kpi"])


def check(
    folder: Path, spec: Path, results: Path, split: str, planted: Sequence[Row]
) -> dict[str, Any]:
    """List the doubtful labels of a faulty split, and compare the list with what was planted."""
    target = results / f"check_{split}"
    run(
        "check",
        *("-e", str(spec), "--with-model", str(results / "dd_model_best.pth")),
        *("--report", str(target)),
        f"dataset.train_data_sources={sources(folder, split, 'noisy')}",
        "dataset.val_data_sources=[]",
        "dataset.test_data_sources=[]",
        allowed=(0, 1),
    )
    listed = json.loads((target / "label_noise.json").read_text("utf-8"))["findings"]
    return compare(listed, planted)


class Truth(Detector):
    """Gives the clean labels, a little off."""

    batch_size = 8

    def __init__(self, content: dict[str, Any]) -> None:
        self.categories = tuple(Category(row["id"], row["name"]) for row in content["categories"])
        self.num_classes = max(each.id for each in self.categories) + 1
        rng = np.random.default_rng(SEED)
        rows: dict[int, list[list[float]]] = {image["id"]: [] for image in content["images"]}
        for row in content["annotations"]:
            left, top, width, height = row["bbox"]
            off = rng.uniform(-OFF, OFF, 4) * [width, height, width, height]
            sides = np.add([left, top, left + width, top + height], off)
            if rng.random() >= MISSED:
                rows[row["image_id"]].append([*sides, rng.uniform(*SCORES), row["category_id"]])
        names = {image["id"]: image["file_name"] for image in content["images"]}
        self._found = {names[id]: _detections(found) for id, found in rows.items()}

    def predict(self, images: Sequence[ImageLike]) -> list[Detections]:
        """Look the answer up by the file's name."""
        return [self._found[Path(str(image)).name] for image in images]


def _detections(rows: list[list[float]]) -> Detections:
    table = np.array(sorted(rows, key=lambda row: -row[4]), np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def listed_by_truth(folder: Path, split: str) -> Sequence[Row]:
    """List the doubts of the one that knows the truth."""
    clean = json.loads(labels_file(folder, split, "clean").read_text("utf-8"))
    source = DataSource(
        image_dir=str(folder / "data/images" / split),
        json_file=(str(labels_file(folder, split, "noisy")),),
    )
    noise = find_label_noise(Truth(clean), {split: [source]}, DatasetConfig())
    findings: list[Row] = noise.to_dict()["findings"]
    return findings


def compare(listed: Sequence[Row], planted: Sequence[Row]) -> dict[str, Any]:
    """Precision and recall by kind, of all, and of the best-ranked findings of all kinds."""
    hits = [[fault for fault in planted if is_of(finding, fault)] for finding in listed]
    right = [
        any(f["kind"] == finding["kind"] for f in found)
        for finding, found in zip(listed, hits, strict=True)
    ]
    by_kind = {}
    for kind in FRACTIONS:
        mine = [r for finding, r in zip(listed, right, strict=True) if finding["kind"] == kind]
        wanted = [fault for fault in planted if fault["kind"] == kind]
        found = [f for f in wanted if any(is_of(x, f) and x["kind"] == kind for x in listed)]
        by_kind[kind] = figures(sum(mine), len(mine), len(found), len(wanted))
    touched = [bool(found) for found in hits]
    best = max(1, len(planted) // 4)
    return {
        **by_kind,
        "listed": len(listed),
        "any_fault": round(sum(touched) / max(1, len(touched)), 3),
        "any_fault_in_first_quarter": round(sum(touched[:best]) / len(touched[:best]), 3),
        "objects_found": figures(
            sum(right),
            len(right),
            sum(any(is_of(x, f) for x in listed) for f in planted),
            len(planted),
        ),
    }


def figures(right: int, listed: int, found: int, wanted: int) -> dict[str, Any]:
    """Write precision and recall with what they count."""
    return {
        "listed": listed,
        "planted": wanted,
        "precision": round(right / listed, 3) if listed else None,
        "recall": round(found / wanted, 3) if wanted else None,
    }


def is_of(finding: Row, fault: Row) -> bool:
    """Whether a finding names the object of a fault; of a missing one, its place."""
    if finding["image_id"] != fault["image_id"]:
        return False
    if fault["annotation_id"] is None:
        box = finding["suggested_bbox"]
        return finding["annotation_id"] is None and iou(box, fault["bbox"]) >= SAME_BOX_IOU
    named = {finding["annotation_id"], finding.get("twin_id")} - {None}
    return bool(named & {fault["annotation_id"], fault.get("twin_id", fault["annotation_id"])})


def counts(planted: Sequence[Row]) -> dict[str, int]:
    """How many faults of each kind there are."""
    return {kind: sum(row["kind"] == kind for row in planted) for kind in FRACTIONS}


def run(*words: str, allowed: Sequence[int] = (0,)) -> None:
    """Run one ddetr command to its end."""
    ended = subprocess.run([sys.executable, "-m", "ddetr_cli", *words], check=False)
    if ended.returncode not in allowed:
        sys.exit(f"ddetr {words[0]} ended with {ended.returncode}")


if __name__ == "__main__":
    main()
