"""A tiny data set, a tiny model and a run of a few steps."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from ddetr_data.config import AugmentationConfig, DatasetConfig, DataSource, InferSource
from ddetr_data.detection import Observer, RunEvent
from ddetr_data.synthetic import SyntheticDataset, make_dataset
from ddetr_model import DeformableDETR, LossConfig, ModelConfig
from ddetr_train.config import TrainConfig
from ddetr_train.engine import TrainResult, train

NUM_CLASSES = 4  # three shapes from id 1 on
QUICK = {"num_epochs": 2, "accelerator": "cpu", "activation_checkpoint": False}


@dataclass
class Recorder:
    """An observer that keeps every event."""

    events: list[RunEvent] = field(default_factory=list)

    def __call__(self, event: RunEvent) -> None:
        self.events.append(event)

    def of(self, kind: str) -> list[RunEvent]:
        return [event for event in self.events if event.kind == kind]

    def text(self, kind: str = "notice") -> str:
        return "\n".join(event.message for event in self.of(kind))


@pytest.fixture
def largest_file() -> Callable[[int], AbstractContextManager[None]]:
    """Let no file of this process grow beyond so many bytes in a block: as on a full disk.

    In the block alone: pytest itself may write to a file.
    """
    resource = pytest.importorskip("resource")

    @contextmanager
    def limited(size_bytes: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture(scope="session", autouse=True)
def _one_thread_and_a_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDETR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> SyntheticDataset:
    return make_dataset(
        tmp_path_factory.mktemp("data"),
        num_images={"train": 10, "val": 3, "one": 1},
        image_size_hw=(64, 64),
        num_classes=NUM_CLASSES - 1,
        objects=(1, 3),
    )


@pytest.fixture(scope="session")
def dataset(synthetic: SyntheticDataset) -> DatasetConfig:
    def source(split: str) -> DataSource:
        return DataSource(
            image_dir=str(synthetic.image_dirs[split]), json_file=str(synthetic.json_files[split])
        )

    return DatasetConfig(
        train_data_sources=(source("train"),),
        val_data_sources=(source("val"),),
        test_data_sources=(source("val"),),
        infer_data_sources=InferSource(image_dir=str(synthetic.image_dirs["val"])),
        num_classes=NUM_CLASSES,
        batch_size=2,
        workers=0,
        augmentation=AugmentationConfig(
            scales=(64,),
            train_random_resize=(64,),
            train_random_crop_min=48,
            train_random_crop_max=64,
            random_resize_max_size=64,
            test_random_resize=64,
        ),
    )


@pytest.fixture(scope="session")
def model_config() -> ModelConfig:
    return ModelConfig(
        num_classes=NUM_CLASSES,
        backbone="timm:test_convnext",
        num_feature_levels=2,
        return_interm_indices=(1, 2),
        hidden_dim=32,
        nheads=4,
        enc_layers=1,
        dec_layers=2,
        dim_feedforward=32,
        num_queries=10,
    )


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


RunTraining = Callable[..., TrainResult]


@pytest.fixture
def run_training(
    model_config: ModelConfig, dataset: DatasetConfig, tmp_path: Path, recorder: Recorder
) -> RunTraining:
    """Train for two epochs of five steps in tmp_path / "run"; keywords are TrainConfig's."""

    def run(
        *,
        data: DatasetConfig = dataset,
        model: ModelConfig | DeformableDETR = model_config,
        results_dir: Path = tmp_path / "run",
        losses: LossConfig | None = None,
        encryption_key: str | None = None,
        observers: Sequence[Observer] = (),
        **options: object,
    ) -> TrainResult:
        config = TrainConfig.model_validate(QUICK | options)
        return train(
            model,
            data,
            config,
            results_dir,
            losses=losses,
            observers=[recorder, *observers],
            encryption_key=encryption_key,
        )

    return run


@pytest.fixture
def in_a_process() -> Callable[[Callable[[], object]], int | None]:
    """Run a function in a forked process; gives its exit status, negative for a signal."""
    return lambda target: _in_processes([target])[0]


@pytest.fixture
def as_ranks() -> Callable[..., list[int | None]]:
    """Run a function in two processes that find each other as torchrun's do."""
    return _as_ranks


def _in_processes(targets: list[Callable[[], object]]) -> list[int | None]:
    """Run all targets at the same time."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=target) for target in targets]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        if process.is_alive():
            process.kill()
    return [process.exitcode for process in processes]


def _as_ranks(target: Callable[[], object], launcher: str = "torchrun") -> list[int | None]:
    environments = {"torchrun": _torchrun, "nodes": _nodes, "slurm": _slurm}
    rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}

    def with_environment(rank: int) -> Callable[[], object]:
        def run() -> object:
            os.environ |= rendezvous | environments[launcher](rank)
            return target()

        return run

    return _in_processes([with_environment(rank) for rank in range(2)])


def _torchrun(rank: int) -> Mapping[str, str]:
    """Two processes of one machine."""
    sizes = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
    ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    return {"TORCHELASTIC_RUN_ID": "test"} | sizes | ranks


def _nodes(rank: int) -> Mapping[str, str]:
    """One process on each of two machines, told by plain variables."""
    return {"NODE_RANK": str(rank)}


def _slurm(rank: int) -> Mapping[str, str]:
    """Two tasks of one job step on one machine, as srun numbers them."""
    sizes = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1"}
    ranks = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NODEID": "0"}
    job = {"SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}
    return job | {"SLURM_NODELIST": "127.0.0.1"} | sizes | ranks


def _free_port() -> int:
    """Find a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
