"""Which devices a run uses: the rule that joins `num_gpus` and `gpu_ids`, and the CPU's turn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# Set by torchrun (and by whoever follows it) to the number of processes on this machine.
LOCAL_WORLD_SIZE = "LOCAL_WORLD_SIZE"
# Set by srun: all tasks of the step, and how many of them are on each machine.
_SLURM_TASKS, _SLURM_NODES = "SLURM_NTASKS", "SLURM_NNODES"
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")


@dataclass(frozen=True)
class Devices:
    """What Lightning is told: GPU ids in their order, or a number of CPU processes."""

    accelerator: Literal["cpu", "gpu"]
    devices: list[int] | int
    notice: str | None = None

    @property
    def count(self) -> int:
        """Processes on this machine."""
        return self.devices if isinstance(self.devices, int) else len(self.devices)

    @property
    def names(self) -> list[str]:
        """The devices of one process that uses all of them, as PyTorch names them."""
        if isinstance(self.devices, int):
            return ["cpu"]
        return [f"cuda:{index}" for index in self.devices]


def choose_gpu_ids(num_gpus: int, gpu_ids: Sequence[int]) -> list[int]:
    """Join both keys: the larger count wins, given ids come first, the lowest free ones follow."""
    free = (index for index in range(num_gpus + len(gpu_ids)) if index not in gpu_ids)
    return [*gpu_ids, *(next(free) for _ in range(num_gpus - len(gpu_ids)))]


def choose_devices(
    num_gpus: int,
    gpu_ids: Sequence[int],
    *,
    gpus_present: int,
    accelerator: Literal["auto", "cpu", "gpu"] = "auto",
) -> Devices:
    """Decide where to run.

    Without a GPU the answer is the CPU and a notice for the user; a launcher such as torchrun
    decides the number of CPU processes.

    Raises:
        ValueError: accelerator "gpu" without a GPU, or an id that this machine does not have.
    """
    if accelerator == "cpu":
        return Devices("cpu", _launched_processes())
    if gpus_present == 0:
        if accelerator == "gpu":
            raise ValueError("accelerator is gpu, but PyTorch sees no GPU: set it to auto or cpu")
        return Devices("cpu", _launched_processes(), "No GPU on this machine: running on the CPU.")
    chosen = choose_gpu_ids(num_gpus, gpu_ids)
    absent = [index for index in chosen if index >= gpus_present]
    if absent:
        raise ValueError(
            f"num_gpus {num_gpus} and gpu_ids {list(gpu_ids)} ask for GPU {absent[0]}, but this "
            f"machine has the GPUs 0 to {gpus_present - 1}"
        )
    return Devices("gpu", chosen)


def is_first_process() -> bool:
    """Say whether this is the one process of a run that reports; launchers number them."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


def _launched_processes() -> int:
    """Count the processes that a launcher has started on this machine; alone it is one."""
    if LOCAL_WORLD_SIZE in os.environ:
        return int(os.environ[LOCAL_WORLD_SIZE])
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

    if SLURMEnvironment.detect():
        return int(os.environ[_SLURM_TASKS]) // int(os.environ.get(_SLURM_NODES, "1"))
    return 1
