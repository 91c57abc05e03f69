"""Damaged images of twelve formats through check, train, inference and serve.

    python -m proofs.decoders [--slice] [--only batch/7]

A batch is a folder of damaged files and a whole one. Each door must end as it should, name and
count each file that cannot be read, use every other one, and agree with the other doors about which
is which; within limits of time and memory, and without a traceback.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from proofs.damaged_images import FORMATS, HEIGHT, WIDTH, damaged_image, whole_image
from proofs.fuzz.doors import SCREEN, broken_sample, command, opened, predict_client
from proofs.fuzz.worker import Door, Outcome, Worker
from proofs.record import Proof, run_proof
from proofs.small_project import SPEC, write_toy_onnx

FILES, BATCH = 10_000, 100
SLICE_FILES, SLICE_BATCH = 48, 24
MOST_SECONDS = 300.0  # of a batch
GOOD = "good.png"
# What a door has read, its words on the rest, and what it refused by a limit of its own.
READ, SAID, LIMITED = "read.json", "said.txt", "limited.json"
TRAINED_EVERY = 20  # batches of which `ddetr train` is run as a whole
LIMIT_WORDS = re.compile(r"at most \d+ |takes too long")  # a server's own limits


def prove(proof: Proof) -> None:
    """Show all batches to all doors."""
    size, total = (SLICE_BATCH, SLICE_FILES) if proof.is_slice else (BATCH, FILES)
    numbers = range(-(-total // size))
    if proof.only:
        numbers = range(int(proof.only.rpartition("/")[2]), int(proof.only.rpartition("/")[2]) + 1)
    with tempfile.TemporaryDirectory(prefix="ddetr-decoders-") as name:
        common = Path(name)
        (common / "spec.yaml").write_text(SPEC, "utf-8")
        write_toy_onnx(common / "toy.onnx")
        limits = {"most_seconds": MOST_SECONDS, "most_cpu_seconds": MOST_SECONDS}
        worker = Worker(DOORS, common / SCREEN, **limits)
        counts: Counter[str] = Counter()
        try:
            for number in numbers:
                files = range(number * size, min((number + 1) * size, total))
                counts += _show_batch(proof, worker, common / "case", number, files)
        finally:
            worker.close()
    proof.tried.append(f"{sum(counts.values())} damaged files of {len(FORMATS)} formats")
    proof.figures = {
        "files by format, damage and whether they can be read": dict(sorted(counts.items()))
    }


def _show_batch(
    proof: Proof, worker: Worker, folder: Path, number: int, files: range
) -> Counter[str]:
    """Show one batch to each door; gives its files by format, damage and outcome."""
    names = _write(folder, files)
    doors = ["check", "inference", "serve", *(() if proof.is_slice else ("dataset",))]
    doors += ["train"] if number % TRAINED_EVERY == 0 and not proof.is_slice else []
    read: dict[str, set[str]] = {}
    for door in doors:
        case = f"{door}/batch/{number}"
        outcome = worker.run(door, folder)
        if outcome.problem:
            proof.failed(case, outcome.problem)
            continue
        proof.passed(f"{door}: {outcome.status}")
        if door != "train":
            read[door] = _judge(proof, case, folder, names)
    limited = set(json.loads((folder / LIMITED).read_text()) if "serve" in read else ())
    for door, found in read.items():
        differing = found ^ read.get("check", found)
        differing -= limited if door == "serve" else set()
        proof.require(
            not differing, f"{door} reads what check reads", f"differs in {sorted(differing)[:3]}"
        )
    shutil.rmtree(folder)
    known = read.get("check", set())
    return Counter(
        "-".join((*Path(each).stem.split("-")[1:3], "read" if each in known else "refused"))
        for each in names
    )


def _judge(proof: Proof, case: str, folder: Path, names: list[str]) -> set[str]:
    """What a door has read; every other file must be named."""
    read, said = set(json.loads((folder / READ).read_text())), (folder / SAID).read_text("utf-8")
    proof.require(GOOD in read, "the whole file is read", f"{case}: {GOOD} is not")
    unnamed = [name for name in names if name not in read and name not in said]
    if unnamed:
        proof.failed(case, f"neither read nor named: {', '.join(unnamed[:3])}")
    else:
        proof.passed("each file is read or named")
    return read & set(names)


def _write(folder: Path, files: range) -> list[str]:
    """Write a batch's images and their labels; gives the names of the damaged ones."""
    images = folder / "images"
    images.mkdir(parents=True)
    (images / GOOD).write_bytes(whole_image("png", 0))
    damaged = [damaged_image(number) for number in files]
    for each in damaged:
        (images / each.name).write_bytes(each.content)
    names = [GOOD, *(each.name for each in damaged)]
    rows = [
        {"id": number, "file_name": name, "width": HEIGHT, "height": WIDTH}
        for number, name in enumerate(names, 1)
    ]
    box = {"category_id": 1, "iscrowd": 0, "area": 100.0, "bbox": [4.0, 5.0, 10.0, 10.0]}
    labels = {
        "images": rows,
        "categories": [{"id": 1, "name": "circle"}],
        "annotations": [box | {"id": row["id"], "image_id": row["id"]} for row in rows],
    }
    (folder / "labels.json").write_text(json.dumps(labels), "utf-8")
    return names[1:]


def _keep(folder: Path, read: list[str], said: str) -> None:
    (folder / READ).write_text(json.dumps(read), "utf-8")
    (folder / SAID).write_text(said, "utf-8")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "images").iterdir())


def check(folder: Path) -> Outcome:
    """`ddetr check`: exit 2 where there is a file that cannot be read."""
    words = ("--images", folder / "images", "--annotations", folder / "labels.json")
    outcome = command(folder, "check", *words, "--json", folder / "findings.json")
    findings = json.loads((folder / "findings.json").read_text("utf-8"))["findings"]
    unread = [each for each in findings if each["fault"] == "unreadable_image"]
    said = "\n".join(location for each in unread for location in each["places"])
    read = [name for name in _names(folder) if name not in said]
    _keep(folder, read, said)
    if sum(each["count"] for each in unread) != len(_names(folder)) - len(read):
        return Outcome(outcome.status, "the count of files that cannot be read is another")
    if not outcome.problem and bool(unread) != (outcome.status == "exit 2"):
        return Outcome(outcome.status, f"{outcome.status} with {len(unread)} findings")
    return outcome


def inference(folder: Path) -> Outcome:
    """`ddetr inference`: exit 0, and both results of every file that can be read."""
    results = folder / "results"
    words = [
        f"inference.checkpoint={folder.parent / 'toy.onnx'}",
        f"dataset.infer_data_sources.image_dir={folder / 'images'}",
        f"results_dir={folder}",
        f"inference.results_dir={results}",
        "inference.coco_json=true",
    ]
    outcome = command(folder, "inference", "-e", folder.parent / "spec.yaml", *words)
    if outcome != Outcome("exit 0"):
        return Outcome(outcome.status, outcome.problem or f"{outcome.status} instead of 0")
    rows = json.loads((results / "detections.json").read_text("utf-8"))["images"]
    log = (results / "run.log").read_text("utf-8", "replace")
    said = "\n".join(line for line in log.splitlines() if "skipped file=" in line)
    _keep(folder, [row["file_name"] for row in rows], said)
    for kind in ("labels", "images_annotated"):
        written = len(list((results / kind).iterdir()))
        if written != len(rows):
            return Outcome(outcome.status, f"{written} files in {kind} for {len(rows)} images")
    return outcome


def serve(folder: Path) -> Outcome:
    """`POST /predict` of each file; some are beyond its limits on sides, pixels and scans."""
    client = predict_client(folder.parent / "toy.onnx")
    read, said, limited = [], [], []
    for name in _names(folder):
        reply = client.post("/predict", content=(folder / "images" / name).read_bytes())
        if reply.status_code not in (200, 400, 413):
            return Outcome(str(reply.status_code), f"HTTP status {reply.status_code} for {name}")
        detail = "" if reply.status_code == 200 else str(reply.json()["detail"])
        if not detail:
            read.append(name)
            continue
        said.append(f"{name}: {detail}")
        if reply.status_code == 413 or LIMIT_WORDS.search(detail):
            limited.append(name)
    (folder / LIMITED).write_text(json.dumps(limited), "utf-8")
    _keep(folder, read, "\n".join(said))
    return Outcome("HTTP 200 or 400")


def dataset(folder: Path) -> Outcome:
    """The training data of a run with corrupt_images=skip, every sample."""
    found = opened(folder)
    if problem := broken_sample(found):
        return Outcome("broke off", problem)
    read = {record.file_name for record in found.images}
    left_out = len(_names(folder)) - len(read)
    if found.faults.get("unreadable_image", 0) != left_out:
        return Outcome("read", f"{left_out} files are left out and not counted")
    # The first is named here, each one by `check`.
    _keep(folder, sorted(read), "\n".join(set(_names(folder)) - read))
    return Outcome("every sample is read")


def train(folder: Path) -> Outcome:
    """`ddetr train` of one epoch with corrupt_images=skip."""
    words = [
        f"dataset.train_data_sources=[{{image_dir: {folder / 'images'}, "
        f"json_file: {folder / 'labels.json'}}}]",
        "dataset.val_data_sources=null",
        "dataset.corrupt_images=skip",
        f"results_dir={folder}",
        f"train.results_dir={folder / 'results'}",
    ]
    outcome = command(folder, "train", "-e", folder.parent / "spec.yaml", *words)
    is_done = (folder / "results" / "dd_model_latest.pth").is_file()
    if not outcome.problem and (outcome.status != "exit 0" or not is_done):
        return Outcome(outcome.status, f"{outcome.status}, checkpoint: {is_done}")
    return outcome


DOORS: dict[str, Door] = {
    "check": check,
    "dataset": dataset,
    "inference": inference,
    "serve": serve,
    "train": train,
}


if __name__ == "__main__":
    run_proof("decoders", "Damaged images through every decoder.", prove)
