"""What labels cost in time and memory: the memory-mapped store, plain lists, and lists of dicts.

    python benchmarks/bench_store.py [--images 2000000] [--compare-images 100000] [--workers 8]

One run gives all figures; on two quiet cores it takes about ten minutes, 4 GiB of disk under
TMPDIR and 6 GiB of memory. To try it: --images 20000 --compare-images 5000.

The set is generated: 32 shards, 7.5 boxes an image, every image row naming the same file. The store
is measured at full size. The other two ways to keep labels are measured at --compare-images, and
the store again beside them, since copies in every worker of the full size would not fit into an
ordinary machine's memory. Each measurement runs in a process of its own, which forks the workers;
every worker reads its slice of all records. "private" is memory that a worker has for itself (USS),
less that of a worker without labels; "pss" is proportional memory, which may be added up.

A start is what training does: open_sources (hash the JSON, find or build the store, look at the
images), a DataLoader with as many workers, and its first batch. Files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from PIL import Image

from ddetr_data.coco import load_sources
from ddetr_data.config import DataSource
from ddetr_data.loading import open_sources, read_store

RESULTS = Path(__file__).parent / "results" / "store.json"
SHARDS = 32
BOXES_PER_IMAGE = 7.5
CATEGORIES = 80
IMAGE_SIZE_WH = (640, 480)
BATCH_SIZE = 4
SPAWN, FORK = multiprocessing.get_context("spawn"), multiprocessing.get_context("fork")


def main() -> None:
    """Generate both sets, measure, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2_000_000)
    parser.add_argument("--compare-images", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    busy = round(os.getloadavg()[1], 1)
    begin = time.perf_counter()
    report: dict[str, Any] = {"workers": options.workers}
    with tempfile.TemporaryDirectory() as root:
        for name, images, ways in (
            ("compared", options.compare_images, ("serialized", "default", "dicts")),
            ("full_size", options.images, ("serialized",)),
        ):
            folder = Path(root, name)
            report[name] = make_set(folder, images)
            for start in ("first_start", "second_start"):
                report[name][start] = in_fresh_process(measure_start, folder, options.workers)
            report[name] |= describe_store(folder)
            for way in ways:
                report[name][way] = in_fresh_process(measure_workers, folder, way, options.workers)
            print(name, json.dumps(report[name], indent=1), flush=True)
    report["seconds_of_this_run"] = round(time.perf_counter() - begin)
    report["machine"] = describe_machine("numpy", "torch")
    report["machine"]["load_average_5_minutes"] = busy  # of other work, before the run
    options.results.parent.mkdir(exist_ok=True)
    options.results.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def make_set(folder: Path, images: int) -> dict[str, Any]:
    """Write shards of COCO JSON and one image; gives the set's size."""
    folder.mkdir()
    Image.new("RGB", IMAGE_SIZE_WH).save(folder / "image.png")
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
        f'{{"id":{id},"file_name":"image.png","width":640,"height":480}}' for id in ids.tolist()
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


def store_of(folder: Path) -> Path:
    """Where the first start left the store."""
    (index,) = (folder / "cache").glob("*/index.json")
    return index.parent


def measure_start(folder: Path, workers: int) -> dict[str, Any]:
    """Do what training does until its first batch, and say when each part was done."""
    from functools import partial

    from torch.utils.data import DataLoader

    from ddetr_data.config import AugmentationConfig
    from ddetr_data.torch import DetectionDataset, DetectionSampler, TrainTransform, collate

    begin = time.perf_counter()
    verified: list[float] = []  # when the first and the last images were, if any had to be
    loaded = open_sources(
        [source_of(folder)],
        num_classes=CATEGORIES + 1,
        cache_dir=folder / "cache",
        on_progress=lambda *_: verified.append(time.perf_counter()),
    )
    opened = time.perf_counter()
    transform = TrainTransform(AugmentationConfig())
    order = list(DetectionSampler.over(loaded))
    loader = DataLoader(
        DetectionDataset(loaded, transform),
        BATCH_SIZE,
        sampler=order[: workers * BATCH_SIZE],  # a batch each, so that the workers end in peace
        num_workers=workers,
        multiprocessing_context=FORK,  # a process that was spawned would spawn its workers too
        collate_fn=partial(collate, fixed_size_hw=transform.canvas_hw),
    )
    arrivals = [time.perf_counter() for _ in loader]
    times = {"first_batch": arrivals[0], "store_opened": opened}
    if verified:
        times |= {"labels_read": verified[0], "images_verified": verified[-1]}
    seconds = {
        name: round(moment - begin, 2) for name, moment in sorted(times.items(), key=itemgetter(1))
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10
    return {"seconds_until": seconds, "peak_rss_mib": peak}


def describe_store(folder: Path) -> dict[str, float]:
    """Size of the store's files."""
    size = sum(path.stat().st_size for path in store_of(folder).iterdir())
    return {"store_mib": round(size / 2**20, 1)}


def measure_workers(folder: Path, way: str, workers: int) -> dict[str, Any]:
    """Open the labels in one way and let forked workers read all of them."""
    bare = run_workers([], 1)[0]["private_mib"]
    start = time.perf_counter()
    records = WAYS[way](folder)
    first_record_seconds = time.perf_counter() - start
    start = time.perf_counter()
    found = run_workers(records, workers)
    read_seconds = time.perf_counter() - start
    private = float(np.mean([worker["private_mib"] - bare for worker in found]))
    store_mib = describe_store(folder)["store_mib"]
    main_pss = memory_mib()["pss_mib"]
    return {
        "open_seconds": round(first_record_seconds, 2),
        "read_all_seconds": round(read_seconds, 1),
        "main_process_pss_mib": round(main_pss, 1),
        "private_mib_per_worker": round(private, 1),
        "private_percent_of_store_per_worker": round(100 * private / store_mib, 2),
        "pss_mib_of_all_processes": round(main_pss + sum(it["pss_mib"] for it in found), 1),
    }


def run_workers(records: Sequence[Any], workers: int) -> list[dict[str, float]]:
    """Fork workers that read interleaved slices; they measure when all have finished reading."""
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
    return {"pss_mib": kib["Pss"] / 2**10, "private_mib": private / 2**10}


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
    "serialized": lambda folder: read_store(store_of(folder)).images,
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


if __name__ == "__main__":
    main()
