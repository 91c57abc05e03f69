"""Several processes as clusters start them, all on this machine: the result of one process.

    python -m proofs.clusters [--slice]

torchrun with two processes, two nodes told by MASTER_ADDR and NODE_RANK, and two tasks with SLURM's
variables train on the same set as one process with the whole batch; weights and scores must agree.
`convert` on Ray must write the bytes that one process writes; the slice does that alone, since the
tests of ddetr-train and ddetr-cli train so on smaller sets.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from proofs.record import Proof, run_proof
from proofs.small_project import ddetr, environment, make_project

IMAGES, SLICE_IMAGES = 64, 12
CONVERTED_IMAGES, SLICE_CONVERTED_IMAGES = 5000, 1200  # a worker takes 1000 at a time
EPOCHS = 2
LIMIT_SECONDS = 900.0
# Two processes add in another order than one.
LARGEST_DIFFERENCE = 1e-4
# Plain steps: Adam divides by a gradient's own size, and doubles what differs by rounding.
OPTIMIZER = (
    "train.optim.optimizer=SGD",
    "train.optim.lr=0.05",
    "train.optim.lr_backbone=0.05",
    "train.distributed_strategy=ddp",
)
RAY = """
import sys
import ray
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20)
from ddetr_cli.app import main
main(sys.argv[1:])
"""


def prove(proof: Proof) -> None:
    """Train and convert in every way; the slice converts alone."""
    with tempfile.TemporaryDirectory(prefix="ddetr-clusters-") as name:
        project = Path(name)
        make_project(project, train=SLICE_IMAGES if proof.is_slice else IMAGES)
        if not proof.is_slice:
            _prove_training(proof, project)
        _prove_ray(proof, project)


def _prove_training(proof: Proof, project: Path) -> None:
    """Train on one process, and in every way on two."""
    words = ["train", "-e", "spec.yaml", f"train.num_epochs={EPOCHS}", *OPTIMIZER]
    proof.tried.append(f"training on {IMAGES} images for {EPOCHS} epochs, {', '.join(WAYS)}")
    alone = [*words, "results_dir=alone", "dataset.batch_size=2"]
    ended = _run([ddetr(*alone)], [{}], project)
    proof.require(ended == "", "one process", ended)
    for way, start in WAYS.items():
        commands, variables = start([*words, f"results_dir={way}", "dataset.batch_size=1"])
        ended = _run(commands, variables, project)
        proof.require(ended == "", f"{way}: ends", ended)
        if not ended:
            _compare(proof, way, project)


def _compare(proof: Proof, way: str, project: Path) -> None:
    """Compare weights and the number of files' writers with those of one process."""
    import torch

    alone, spread = (
        torch.load(project / folder / "train" / "dd_model_latest.pth", weights_only=True)
        for folder in ("alone", way)
    )
    largest = max(
        float((weight - spread["state_dict"][name]).abs().max())
        for name, weight in alone["state_dict"].items()
        if weight.is_floating_point()
    )
    proof.figures[f"{way}: largest difference of a weight"] = largest
    proof.require(largest < LARGEST_DIFFERENCE, f"{way}: weights agree", "other weights")
    steps = alone["global_step"], spread["global_step"]
    proof.require(steps[0] == steps[1], f"{way}: steps", f"{steps[1]} steps, not {steps[0]}")
    started = (project / way / "train" / "status.json").read_text("utf-8").count('"STARTED"')
    proof.require(started == 1, f"{way}: one status", f"{started} processes wrote status.json")


def _prove_ray(proof: Proof, project: Path) -> None:
    """Convert on one process and on Ray, and compare the bytes."""
    images = SLICE_CONVERTED_IMAGES if proof.is_slice else CONVERTED_IMAGES
    _multiply(project / "data", images)
    proof.tried.append(f"convert of {images} images on two workers of Ray")
    words = ["convert", "-e", "convert.yaml", "num_shards=8"]
    ended = _run([ddetr(*words, "results_dir=local")], [{}], project)
    proof.require(ended == "", "convert: one process", ended)
    command = [sys.executable, "-c", RAY, *words, "results_dir=ray", "executor=ray"]
    ended = _run([command], [{"RAY_USAGE_STATS_ENABLED": "0"}], project)
    proof.require(ended == "", "convert: Ray ends", ended)
    local, on_ray = (
        {path.name: path.read_bytes() for path in (project / folder).glob("*-shard-*.json")}
        for folder in ("local", "ray")
    )
    proof.require(bool(local) and local == on_ray, "convert: the same shards", "other shards")


def _multiply(data: Path, count: int) -> None:
    """Give the training images and their KITTI labels more names, until there are enough."""
    images, labels = data / "images" / "train", data / "kitti" / "train" / "label_2"
    drawn = sorted(images.iterdir())
    for number in range(count - len(drawn)):
        image = drawn[number % len(drawn)]
        os.link(image, images / f"again_{number}{image.suffix}")
        os.link(labels / f"{image.stem}.txt", labels / f"again_{number}.txt")


def _torchrun(words: Sequence[str]) -> tuple[list[list[str]], list[Mapping[str, str]]]:
    """PyTorch's own launcher."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [[*launcher, "--nproc_per_node=2", "-m", "ddetr_cli", *words]], [{}]


def _nodes(words: Sequence[str]) -> tuple[list[list[str]], list[Mapping[str, str]]]:
    """One process on each of two machines, told by plain variables."""
    command = ddetr(*words, "train.num_nodes=2")
    rendezvous = _rendezvous()
    return [command] * 2, [rendezvous | {"NODE_RANK": str(rank)} for rank in range(2)]


def _slurm(words: Sequence[str]) -> tuple[list[list[str]], list[Mapping[str, str]]]:
    """Two tasks of one job step, as srun numbers them."""
    job = _rendezvous() | {
        "SLURM_JOB_NAME": "train",
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "127.0.0.1",
    }
    ranks = [{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]
    return [ddetr(*words)] * 2, [job | rank for rank in ranks]


Start = Callable[[Sequence[str]], tuple[list[list[str]], list[Mapping[str, str]]]]
WAYS: Mapping[str, Start] = {"torchrun": _torchrun, "nodes": _nodes, "slurm": _slurm}


def _run(
    commands: Sequence[Sequence[str]], variables: Sequence[Mapping[str, str]], project: Path
) -> str:
    """Run commands at the same time; says what went wrong, "" for nothing."""
    processes = [
        subprocess.Popen(
            command,
            cwd=project,
            env=environment(project, each),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for command, each in zip(commands, variables, strict=True)
    ]
    problems = []
    try:
        for process in processes:
            _, complaints = process.communicate(timeout=LIMIT_SECONDS)
            if process.returncode != 0:
                last = re.sub(r"\s+", " ", complaints)[-300:]
                problems.append(f"exit status {process.returncode}: {last}")
    except subprocess.TimeoutExpired:
        problems.append(f"no end within {LIMIT_SECONDS:g} s")
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return "; ".join(problems)


def _rendezvous() -> dict[str, str]:
    """Where the processes meet: a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}


if __name__ == "__main__":
    run_proof("clusters", "Several processes as clusters start them.", prove)
