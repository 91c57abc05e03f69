"""Which devices a run uses: the rule that joins `num_gpus` and `gpu_ids`, and the CPU's turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


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
    cpu_processes: int = 1,
) -> Devices:
    """Decide where to run.

    Without a GPU the answer is the CPU and a notice for the user.

    Args:
        cpu_processes: of a run on the CPU; a launcher decides their number.

    Raises:
        ValueError: accelerator "gpu" without a GPU, or an id that this machine does not have.
    """
    if accelerator == "cpu":
        return Devices("cpu", cpu_processes)
    if gpus_present == 0:
        if accelerator == "gpu":
            raise ValueError("accelerator is gpu, but PyTorch sees no GPU: set it to auto or cpu")
        return Devices("cpu", cpu_processes, "No GPU on this machine: running on the CPU.")
    chosen = choose_gpu_ids(num_gpus, gpu_ids)
    absent = [index for index in chosen if index >= gpus_present]
    if absent:
        raise ValueError(
            f"num_gpus {num_gpus} and gpu_ids {list(gpu_ids)} ask for GPU {absent[0]}, but this "
            f"machine has the GPUs 0 to {gpus_present - 1}"
        )
    return Devices("gpu", chosen)
