"""Every writer of results, whatever ends it: the old file or the whole new one, and nothing else.

A row is what writes into a folder; its version changes the content.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
import torch
from PIL import Image

from ddetr_cli.commands import check
from ddetr_cli.commands.arguments import CheckArguments
from ddetr_cli.report import write_evaluation_report
from ddetr_cli.running import RunRecord
from ddetr_cli.terminal import RunConsole
from ddetr_data.config import DatasetConfig, DataSource, InferSource
from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import convert
from ddetr_data.detection import Detector, InferenceConfig, label, write_results
from ddetr_data.files import write_whole
from ddetr_data.formats import KittiObject, write_classmap, write_kitti
from ddetr_data.images import open_video, save_image
from ddetr_data.loading import open_sources
from ddetr_data.scoring import Scores
from ddetr_data.synthetic import make_dataset
from ddetr_data.types import Category, Detections
from ddetr_export.onnx import write_model
from ddetr_model import (
    DeformableDETR,
    ModelConfig,
    export_huggingface,
    export_original,
    save_checkpoint,
)
from ddetr_train.checkpoints import AtomicCheckpointIO, copy_whole

KEY = "open sesame"
SMALL = 16  # bytes, fewer than any result has
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills and limits are POSIX's")


class StubDetector(Detector):
    """As many boxes as it is told, in every image."""

    categories = (Category(1, "bag"),)
    batch_size = 4

    def __init__(self, count: int) -> None:
        self.count = count

    def predict(self, images) -> list[Detections]:
        boxes = np.tile(np.array([[1, 2, 9, 12]], np.float32), (self.count, 1))
        scores = np.full(self.count, 0.9, np.float32)
        return [Detections(boxes, scores, np.ones(self.count, np.int64)) for _ in images]


@dataclass(frozen=True)
class Inputs:
    """What writers read; it lies elsewhere, and is made once."""

    folder: Path
    small_model: DeformableDETR
    model: DeformableDETR  # of the backbone that other programs know

    @property
    def images(self) -> Path:
        return self.folder / "images" / "val"


Writer: TypeAlias = Callable[[Path, int, Inputs], object]


def plain_image(version: int) -> Image.Image:
    return Image.new("RGB", (40, 30), (version, 10, 10))


def labelled(folder: Path, version: int, inputs: Inputs) -> None:
    dataset = DatasetConfig(infer_data_sources=InferSource(image_dir=str(inputs.images)))
    label(StubDetector(version), dataset, InferenceConfig(coco_json=True, csv=True), folder)


def video(folder: Path, version: int, inputs: Inputs) -> None:
    source = inputs.folder / "clip.avi"
    with open_video(source) as opened, opened.copied_to(folder / "a.mp4") as write:
        for frame in list(opened.frames)[: 5 + version]:
            write(frame)


def shards(folder: Path, version: int, inputs: Inputs) -> None:
    config = ConvertConfig(
        input_source=str(inputs.folder),
        image_dir_name="images/val",
        label_dir_name="kitti/val/label_2",
        results_dir=folder,
        mapping_path=str(inputs.folder / f"mapping_{version}.json"),
        num_shards=1,
        workers=1,
    )
    convert(config)


def yolo(folder: Path, version: int, inputs: Inputs) -> None:
    convert(
        ConvertConfig(
            input_source=str(inputs.folder / f"labels_{version}.json"),
            format="coco_to_yolo",
            results_dir=folder,
        )
    )


def store(folder: Path, version: int, inputs: Inputs) -> None:
    labels = inputs.folder / f"labels_{version}.json"
    source = DataSource(image_dir=inputs.images, json_file=labels)
    open_sources([source], num_classes=None, cache_dir=folder)


def record(folder: Path, version: int, inputs: Inputs) -> None:
    with RunRecord(folder, lambda _: nullcontext(), is_first=True) as opened:
        opened.claim()
        opened.open("convert", f"version: {version}\n" * 9)


def scores(version: int) -> Scores:
    return Scores({"AP": version / 10, "AP50": 0.5}, {"bag": {"AP": version / 10, "AP50": 0.5}})


def report(folder: Path, version: int, inputs: Inputs) -> None:
    if not (folder / "results.json").exists():
        write_results(folder, scores(version), [])
    write_evaluation_report(folder)


def findings(folder: Path, version: int, inputs: Inputs) -> None:
    """What `ddetr check --json` writes."""
    labels = str(inputs.folder / f"labels_{version}.json")
    file = str(folder / "findings.json")
    arguments = CheckArguments(images=str(inputs.images), annotations=[labels], json_file=file)
    check.main(arguments, RunConsole(quiet=True))


def kitti(folder: Path, version: int, inputs: Inputs) -> None:
    write_kitti(folder / "labels" / "a.txt", [KittiObject("bag", (1, 2, version + 3, 9))])


def classes(folder: Path, version: int, inputs: Inputs) -> None:
    write_classmap(folder / "c.txt", [Category(1, "a" * 30), Category(2, str(version))])


def checkpoint(key: str | None) -> Writer:
    def write(folder: Path, version: int, inputs: Inputs) -> None:
        content = {"epoch": version, "weight": torch.zeros(99)}
        AtomicCheckpointIO(key).save_checkpoint(content, folder / "a.pth")

    return write


def copied(folder: Path, version: int, inputs: Inputs) -> None:
    copy_whole(inputs.folder / f"labels_{version}.json", folder / "best.pth")


def model_file(folder: Path, version: int, inputs: Inputs) -> None:
    save_checkpoint(inputs.small_model, folder / "a.pth", metrics={"AP": float(version)})


def exported(key: str | None) -> Writer:
    return lambda folder, n, _: write_model(folder / "a.onnx", bytes([n]) * 99, key)


WRITERS: dict[str, Writer] = {
    "text": lambda folder, n, _: write_whole(folder / "a.txt", str(n) * 99),
    "KITTI labels": kitti,
    "class list": classes,
    "scores": lambda folder, n, _: write_results(folder, scores(n), []),
    "labelled images": labelled,
    "annotated image": lambda folder, n, _: save_image(plain_image(n), folder / "a.jpg"),
    "annotated video": video,
    "shards": shards,
    "YOLO labels": yolo,
    "store": store,
    "synthetic set": lambda folder, n, _: make_dataset(folder, num_images={"val": 1}, seed=n),
    "record of a run": record,
    "report": report,
    "findings": findings,
    "checkpoint": checkpoint(None),
    "encrypted checkpoint": checkpoint(KEY),
    "copied checkpoint": copied,
    "model file": model_file,
    "published layout": lambda folder, n, has: export_original(has.model, folder / "a.pth"),
    "Hugging Face folder": lambda folder, n, has: export_huggingface(has.model, folder),
    "exported model": exported(None),
    "encrypted model": exported(KEY),
}
ALL = pytest.mark.parametrize("name", WRITERS)


def in_a_child(work: Callable[[], object]) -> tuple[int | None, str]:
    """Do something in a forked process without a screen; its exit status, and what it raised."""
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def run() -> None:
        gc.freeze()  # freeing the parent's videos would wait for threads that are not here
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        try:
            work()
        except OSError as error:
            sender.send(str(error))
        else:
            sender.send("")

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    sender.close()
    child.join()
    with suppress(EOFError):  # it was killed
        return child.exitcode, receiver.recv()
    return child.exitcode, ""


def contents(folder: Path) -> dict[str, bytes]:
    """All files but those that are appended to, and locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and path.name != "status.json"
    }


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


def die_at_the_first_rename(folder: Path) -> None:
    """Be killed when all is written but nothing has its name."""

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.rename" and str(arguments[0]).startswith(str(folder)):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    av = pytest.importorskip("av")
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("inputs")
    made = make_dataset(folder, num_images={"val": 2}, image_size_hw=(48, 64), num_classes=2)
    table = json.loads(made.json_files["val"].read_text())
    for version in (1, 2):
        table["categories"][0]["name"] = f"name {version}"
        (folder / f"labels_{version}.json").write_text(json.dumps(table))
        names = {name: f"{name} {version}" for name in made.class_names}
        (folder / f"mapping_{version}.json").write_text(json.dumps(names))
    with av.open(str(folder / "clip.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 64, 48
        for number in range(8):
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), (20 * number, 9, 9)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    sizes = {"hidden_dim": 32, "nheads": 2, "enc_layers": 1, "dec_layers": 1, "num_queries": 5}
    small, usual = (
        DeformableDETR(ModelConfig(backbone=backbone, num_classes=3, **sizes))
        for backbone in ("timm:test_resnet", "resnet_50")
    )
    return Inputs(folder, small, usual)


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder, and what makes it read-only; for root that takes a file system of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid():
        yield disk, lambda: [path.chmod(0o555) for path in (disk, *disk.rglob("*/"))]  # type: ignore[func-returns-value]
        return
    try:
        mount = ["mount", "-t", "tmpfs", "tmpfs", str(disk)]
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system cannot be mounted here")
    remount = ["mount", "-o", "remount,ro", str(disk)]
    yield disk, lambda: subprocess.run(remount, check=True, capture_output=True)
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@ALL
def test_a_kill_leaves_the_old_file_and_the_next_run_nothing_else(
    tmp_path: Path, inputs: Inputs, name: str
) -> None:
    """Everything is written before anything is renamed; what then lies there is removed."""
    write = WRITERS[name]
    write(tmp_path, 1, inputs)
    before = contents(tmp_path)

    def die() -> None:
        die_at_the_first_rename(tmp_path)
        write(tmp_path, 2, inputs)

    assert in_a_child(die) == (-signal.SIGKILL, "")
    visible = {path: content for path, content in contents(tmp_path).items() if path in before}
    assert visible == before
    assert leftovers(tmp_path)
    assert in_a_child(lambda: write(tmp_path, 2, inputs)) == (0, "")
    assert leftovers(tmp_path) == []


@ALL
def test_a_full_disk_leaves_the_old_file_and_is_named(
    tmp_path: Path, inputs: Inputs, name: str
) -> None:
    """No file may grow beyond a few bytes: the error has the path, and nothing stays beside it."""
    resource = pytest.importorskip("resource")
    write = WRITERS[name]
    write(tmp_path, 1, inputs)
    before = contents(tmp_path)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, SMALL))
        write(tmp_path, 2, inputs)

    status, error = in_a_child(fill)
    assert status == 0
    assert str(tmp_path) in error
    assert contents(tmp_path) == before
    assert leftovers(tmp_path) == []


@ALL
def test_files_are_as_open_as_the_umask_says(tmp_path: Path, inputs: Inputs, name: str) -> None:
    """Neither files nor folders are their owner's alone."""
    folder = tmp_path / "new"

    def write() -> None:
        os.umask(0o022)
        folder.mkdir()
        WRITERS[name](folder, 1, inputs)

    assert in_a_child(write) == (0, "")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert modes == {0o644}
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o755}


@ALL
def test_a_read_only_folder_is_named(
    read_only_disk: tuple[Path, Callable[[], None]], inputs: Inputs, name: str
) -> None:
    """Where nothing can be written, what is there stays."""
    disk, make_read_only = read_only_disk
    write = WRITERS[name]
    write(disk, 1, inputs)
    before = contents(disk)
    make_read_only()
    status, error = in_a_child(lambda: write(disk, 2, inputs))
    assert status == 0
    assert str(disk) in error
    assert contents(disk) == before
