"""Where files from outside come in; each door takes the folder of one case.

A case's folder holds what was damaged under the name that its door expects. All doors run in the
worker's process, so that thousands of cases pay for one import.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

from proofs.fuzz.worker import Door, Outcome, where_raised

__all__ = ["DOORS", "SCREEN", "command", "predict_client", "prepare"]

SCREEN = "screen.txt"
LONGEST_ANSWER = 4000  # characters that a wrong file may cost on the screen
FRAME = re.compile(r'File "[^"]*/(ddetr_\w+)/([^"]*)\.py", line \d+, in (\S+)')
FAULT = re.compile(r"^(\w[\w.]*(?:Error|Exception|Interrupt|Warning|Exit)\b)", re.MULTILINE)


def command(folder: Path, *words: str | Path) -> Outcome:
    """Run `ddetr` in this process and judge how it ended."""
    from ddetr_cli.app import main

    try:
        main([str(word) for word in words])
    except SystemExit as ended:
        status = ended.code
    except Exception as error:
        return Outcome("raised", f"traceback on the screen: {where_raised(error)}")
    sys.stdout.flush()
    sys.stderr.flush()
    screen = (folder.parent / SCREEN).read_text("utf-8", "replace")
    told = (folder.parent / SCREEN).with_suffix(".out").read_text("utf-8", "replace")
    log = folder / "results" / "run.log"
    if log.exists() and "Traceback" in (kept := log.read_text("utf-8", "replace")):
        return Outcome(str(status), f"exit 1, a fault of the program: {_kept_fault(kept)}")
    if "Traceback" in screen:
        return Outcome(str(status), f"traceback on the screen: {_kept_fault(screen)}")
    if status not in (0, 1, 2):
        return Outcome(str(status), f"exit status {status}")
    if status == 2 and not (screen + told).strip():
        return Outcome("2", "exit 2 without a sentence")
    if len(screen) > LONGEST_ANSWER and status != 0:
        return Outcome(str(status), f"an answer of more than {LONGEST_ANSWER} characters")
    return Outcome(f"exit {status}")


def check_images(folder: Path) -> Outcome:
    """`ddetr check` of a COCO set."""
    words = ("--images", folder / "images", "--annotations", folder / "labels.json")
    return command(folder, "check", *words)


def check_kitti(folder: Path) -> Outcome:
    """`ddetr check` of a folder of KITTI labels."""
    return command(
        folder, "check", "--images", folder / "images", "--annotations", folder / "kitti"
    )


def check_convert(folder: Path) -> Outcome:
    """`ddetr check` of what a conversion reads."""
    return command(folder, "check", "-e", folder / "convert.yaml")


def convert(folder: Path) -> Outcome:
    """`ddetr convert`."""
    return command(folder, "convert", "-e", folder / "convert.yaml")


def inference(folder: Path) -> Outcome:
    """`ddetr inference` with the case's model, or the common one, over the case's images."""
    models = [*folder.glob("model.*"), folder.parent / "toy.onnx"]
    words = [
        f"inference.checkpoint={models[0]}",
        f"dataset.infer_data_sources.image_dir={folder / 'images'}",
        f"results_dir={folder}",
        f"inference.results_dir={folder / 'results'}",
    ]
    if models[0].suffix == ".enc":
        words.append("encryption_key=open sesame")
    outcome = command(folder, "inference", "-e", folder.parent / "spec.yaml", *words)
    if len(models) > 1 and models[0].suffix == ".onnx" and outcome == Outcome("exit 0"):
        return Outcome("exit 0", "a damaged ONNX file is used as if it were whole")
    return outcome


def import_(folder: Path) -> Outcome:
    """`ddetr import` of a checkpoint."""
    (source,) = folder.glob("model.*")
    return command(folder, "import", source, "-o", folder / "imported.pth")


def migrate(folder: Path) -> Outcome:
    """`ddetr migrate` of a spec."""
    return command(folder, "migrate", "-e", folder / "spec.yaml")


def load_spec(folder: Path) -> Outcome:
    """The reader of specs, with an override where the case has one."""
    from ddetr_cli.spec import Experiment, SpecError
    from ddetr_cli.spec import load_spec as load

    typed = folder / "override.txt"
    overrides = [typed.read_bytes().decode("utf-8", "surrogateescape")] if typed.exists() else []
    try:
        load(Experiment, folder / "spec.yaml", overrides)
    except SpecError as error:
        if len(str(error)) > LONGEST_ANSWER:
            return Outcome("refused", f"an answer of more than {LONGEST_ANSWER} characters")
        return Outcome("refused" if str(error) else "", "" if str(error) else "no sentence")
    return Outcome("read")


def opened(folder: Path) -> Any:
    """The labels of a folder, as of a run with corrupt_images=skip."""
    from ddetr_data import DataSource
    from ddetr_data.loading import open_sources

    source = DataSource(image_dir=folder / "images", json_file=folder / "labels.json")
    return open_sources([source], num_classes=None, dataset_type="default", corrupt_images="skip")


def broken_sample(labelled: Any) -> str | None:
    """Draw each training sample once; says why one of them fails, which no check has told of."""
    from ddetr_data import AugmentationConfig, DataError
    from ddetr_data.torch import DetectionDataset, TrainTransform

    augmentation = AugmentationConfig(
        scales=(64,), train_random_resize=(64,), train_random_crop_min=48, train_random_crop_max=64
    )
    samples = DetectionDataset(labelled, TrainTransform(augmentation))
    try:
        for index in range(len(samples)):
            samples[index]
    except DataError as error:
        return f"an image that passed the check before a run fails in it: {error}"
    return None


def dataset(folder: Path) -> Outcome:
    """The training data of a run with corrupt_images=skip, every sample."""
    from ddetr_data import DataError

    try:
        found = opened(folder)
    except (DataError, FileNotFoundError) as error:
        return Outcome("refused", "" if str(error) else "no sentence")
    problem = broken_sample(found)
    return Outcome("broke off", problem) if problem else Outcome(f"{len(found.images)} samples")


def serve(folder: Path) -> Outcome:
    """`POST /predict` of one image file."""
    (image,) = (path for path in (folder / "images").iterdir() if path.stem == "damaged")
    reply = predict_client(folder.parent / "toy.onnx").post("/predict", content=image.read_bytes())
    if reply.status_code not in (200, 400, 413, 415):
        return Outcome(str(reply.status_code), f"HTTP status {reply.status_code}")
    return Outcome(f"HTTP {reply.status_code}")


def prepare(folder: Path) -> Outcome:
    """Write a small random network as checkpoints and as ONNX, and an encrypted file."""
    import torch
    from safetensors.torch import save_file

    from ddetr_cli.spec import Experiment
    from ddetr_cli.spec import load_spec as load
    from ddetr_data.files import encrypting
    from ddetr_export import ExportConfig, export_onnx
    from ddetr_model import DeformableDETR, save_checkpoint

    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = load(Experiment, folder / "spec.yaml").spec
    model = DeformableDETR(spec.model.architecture(num_classes=4))
    save_checkpoint(model, folder / "checkpoint.pth")
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "checkpoint.safetensors")
    size = ExportConfig(input_height=64, input_width=64)
    export_onnx(folder / "checkpoint.pth", folder / "network.onnx", size)
    with (folder / "toy.onnx.enc").open("wb") as file, encrypting(file, "open sesame") as locked:
        locked.write((folder / "toy.onnx").read_bytes())
    return Outcome("done")


@cache
def predict_client(model: Path) -> Any:
    """A client of the server of an ONNX file, in this process."""
    from fastapi.testclient import TestClient

    from ddetr_export import create_app, open_detector

    return TestClient(create_app(open_detector(model)))


DOORS: dict[str, Door] = {
    "check": check_images,
    "check_kitti": check_kitti,
    "check_convert": check_convert,
    "convert": convert,
    "dataset": dataset,
    "import": import_,
    "inference": inference,
    "load_spec": load_spec,
    "migrate": migrate,
    "prepare": prepare,
    "serve": serve,
}


def _kept_fault(text: str) -> str:
    """Name the fault of a traceback in a text: its type, and the last function of ours."""
    frames, faults = FRAME.findall(text), FAULT.findall(text)
    where = ".".join(frames[-1]).replace("/", ".") if frames else "no module of ours"
    return f"{faults[-1] if faults else 'unknown'} in {where}"
