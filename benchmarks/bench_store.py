"""What labels cost in time and memory: the memory-mapped store, plain lists, and lists of dicts.

    python benchmarks/bench_store.py [--images 2000000] [--compare-images 100000] [--workers 8]

The set is generated: 32 shards, 7.5 boxes an image, every image row naming the same small file.
The store is measured at full size. The other two ways to keep labels are measured at
--compare-images, and the store again beside them, since copies in every worker of the full size
would not fit into an ordinary machine's memory. Each way runs in a process of its own, which
forks the workers; every worker reads its share of all records. "private" is memory that a worker
has for itself (USS), less that of a worker without labels; "shared" is the sum of all processes'
proportional memory (PSS).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ddetr_data.coco import load_sources
from ddetr_data.config import DataSource
from ddetr_data.sources import store_key
from ddetr_data.store import read_store, write_store
from ddetr_data.verify import missing_images

RESULTS = Path(__file__).parent / "results" / "store.json"
SHARDS = 32
BOXES_PER_IMAGE = 7.5
CATEGORIES = 80
SPAWN, FORK = multiprocessing.get_context("spawn"), multiprocessing.get_context("fork")


def main() -> None:
    """Generate both sets, measure, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2_000_000)
    parser.add_argument("--compare-images", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=8)
    options = parser.parse_args()
    report: dict[str, Any] = {"workers": options.workers}
    with tempfile.TemporaryDirectory() as root:
        for name, images, ways in (
            ("compared", options.compare_images, ("serialized", "default", "dicts")),
            ("full_size", options.images, ("serialized",)),
        ):
            folder = Path(root, name)
            report[name] = make_set(folder, images)
            report[name] |= in_fresh_process(measure_build, folder)
            report[name] |= in_fresh_process(measure_second_start, folder)
            for way in ways:
                report[name][way] = in_fresh_process(measure_workers, folder, way, options.workers)
            print(name, json.dumps(report[name], indent=1), flush=True)
    report["machine"] = machine()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def make_set(folder: Path, images: int) -> dict[str, Any]:
    """Write shards of COCO JSON and one image; gives the set's size."""
    folder.mkdir()
    Image.new("RGB", (64, 64)).save(folder / "image.jpg")
    rng = np.random.default_rng(0)
    boxes = 0
    for shard, ids in enumerate(np.array_split(np.arange(1, images + 1), SHARDS)):
        counts = rng.poisson(BOXES_PER_IMAGE, len(ids))
        write_shard(folder / f"shard_{shard:02d}.json", ids, counts, boxes, rng)
        boxes += int(counts.sum())
    size = sum(path.stat().st_size for path in folder.glob("*.json"))
    return {"images": images, "boxes": boxes, "json_mib": round(size / 2**20)}


def write_shard(
    path: Path, ids: np.ndarray, counts: np.ndarray, first_id: int, rng: np.random.Generator
) -> None:
    """Write one shard, row by row as text, since json.dumps would take minutes."""
    owners = np.repeat(ids, counts).tolist()
    corners = (rng.integers(0, 30000, (len(owners), 4)) / 100 + 1).tolist()
    labels = rng.integers(1, CATEGORIES + 1, len(owners)).tolist()
    images = ",".join(
        f'{{"id":{id},"file_name":"image.jpg","width":640,"height":480}}' for id in ids.tolist()
    )
    rows = ",".join(
        f'{{"id":{number},"image_id":{owner},"category_id":{label},"bbox":{box},'
        f'"area":{box[2] * box[3]},"iscrowd":0}}'
        for number, (owner, label, box) in enumerate(
            zip(owners, labels, corners, strict=True), first_id + 1
        )
    )
    names = json.dumps([{"id": id, "name": f"class {id}"} for id in range(1, CATEGORIES + 1)])
    path.write_text(f'{{"images":[{images}],"annotations":[{rows}],"categories":{names}}}')


def source_of(folder: Path) -> DataSource:
    """The generated set as a data source."""
    return DataSource(image_dir=folder, json_file=f"{folder}/*.json")


def measure_build(folder: Path) -> dict[str, Any]:
    """Read all JSON and write the store: what the first start costs."""
    start = time.perf_counter()
    loaded = load_sources([source_of(folder)], num_classes=None)
    read_seconds = time.perf_counter() - start
    write_store(loaded, folder / "store")
    size = sum(path.stat().st_size for path in (folder / "store").iterdir())
    return {
        "read_json_seconds": round(read_seconds, 1),
        "write_store_seconds": round(time.perf_counter() - start - read_seconds, 1),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10,
        "store_mib": round(size / 2**20, 1),
    }


def measure_second_start(folder: Path) -> dict[str, Any]:
    """Find the store by the contents of the JSON, look for the images, give a first record."""
    start = time.perf_counter()
    store_key([source_of(folder)], "error")
    hashed = time.perf_counter()
    opened = read_store(folder / "store")
    len(opened.images[len(opened.images) // 2].labels)
    mapped = time.perf_counter()
    missing_images(opened.images)
    return {
        "hash_json_seconds": round(hashed - start, 2),
        "open_store_seconds": round(mapped - hashed, 4),
        "look_for_images_seconds": round(time.perf_counter() - mapped, 1),
    }


def measure_workers(folder: Path, way: str, workers: int) -> dict[str, Any]:
    """Open the labels in one way and let forked workers read all of them."""
    bare = run_workers([], 1)[0]["private_mib"]
    start = time.perf_counter()
    records = WAYS[way](folder)
    first_record_seconds = time.perf_counter() - start
    start = time.perf_counter()
    found = run_workers(records, workers)
    private = [worker["private_mib"] - bare for worker in found]
    return {
        "open_seconds": round(first_record_seconds, 2),
        "read_all_seconds": round(time.perf_counter() - start, 1),
        "main_process_pss_mib": round(memory_mib()["shared_mib"], 1),
        "private_mib_per_worker": round(float(np.mean(private)), 1),
        "shared_mib_of_all_workers": round(sum(worker["shared_mib"] for worker in found), 1),
    }


def run_workers(records: Sequence[Any], workers: int) -> list[dict[str, float]]:
    """Fork workers that read interleaved shares; they measure when all have finished reading."""
    barrier, answers = FORK.Barrier(workers), FORK.Queue()

    def work(rank: int) -> None:
        for index in range(rank, len(records), workers):
            touch(records[index])
        barrier.wait()
        answers.put(memory_mib())
        barrier.wait()

    processes = [FORK.Process(target=work, args=(rank,)) for rank in range(workers)]
    for process in processes:
        process.start()
    found = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    return found


def touch(record: Any) -> float:
    """Use a record as a dataset would."""
    if isinstance(record, list):
        return sum(row["bbox"][2] for row in record)
    return float(record.boxes_xywh[:, 2].sum())


def memory_mib() -> dict[str, float]:
    """This process's proportional and private memory."""
    rows = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kib = {row.split(":")[0]: int(row.split()[1]) for row in rows}
    private = kib["Private_Dirty"] + kib["Private_Clean"]
    return {"shared_mib": kib["Pss"] / 2**10, "private_mib": private / 2**10}


def read_dicts(folder: Path) -> list[list[dict[str, Any]]]:
    """Rows grouped by image, as a dataset keeps them that holds the parsed JSON."""
    by_image: dict[int, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_bytes())
        by_image |= {row["id"]: [] for row in content["images"]}
        for row in content["annotations"]:
            by_image[row["image_id"]].append(row)
    return list(by_image.values())


WAYS: dict[str, Callable[[Path], Sequence[Any]]] = {
    "serialized": lambda folder: read_store(folder / "store").images,
    "default": lambda folder: list(load_sources([source_of(folder)], num_classes=None).images),
    "dicts": read_dicts,
}


def in_fresh_process(measure: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Run a measurement where nothing else was loaded before."""
    answers = SPAWN.Queue()
    process = SPAWN.Process(target=_answer, args=(answers, measure, arguments))
    process.start()
    found: dict[str, Any] = answers.get()
    process.join()
    return found


def _answer(answers: Any, measure: Callable[..., dict[str, Any]], arguments: Any) -> None:
    answers.put(measure(*arguments))


def machine() -> dict[str, Any]:
    """What the figures were taken on, and how busy it was: times on a busy one are too long."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load_average_5_minutes": round(os.getloadavg()[1], 1),
    }


if __name__ == "__main__":
    main()
