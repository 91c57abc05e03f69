"""Who started this process, and its number among those of one run, read from the environment.

A run has several processes when one of three launchers says so:

torchrun  RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, and where the first process listens.
srun      SLURM_STEP_ID, SLURM_NTASKS and the numbers of the task. The step of a batch script is
          none of srun's, nor is a job named bash or interactive: the process is alone there.
by hand   MASTER_ADDR with NODE_RANK (one process a machine) or with LOCAL_RANK (those that
          Lightning starts beside the first). Only training spreads so; all else works alone.

A number other than 0 without the rest of its launcher's variables is left over from something
else, as are those of mpirun, whose processes cannot find each other here. They are refused: a
process that believed them would be silent, and several that did not would write the same files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ddetr_train.process.devices import Devices

__all__ = [
    "Launch",
    "LaunchError",
    "check_launch",
    "current_launch",
    "is_first_process",
    "is_launched",
    "launched_local_rank",
    "read_launch",
]

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_RENDEZVOUS = ("MASTER_ADDR", "MASTER_PORT")
_SRUN = ("SLURM_STEP_ID", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_BY_HAND = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK")
_NUMBERS = {*_TORCHRUN, "MASTER_PORT", *_SRUN, "SLURM_NNODES", "SLURM_NTASKS_PER_NODE", *_BY_HAND}
_COUNTS = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_NTASKS", "SLURM_NNODES")
# Number of a process that mpirun has started, and of all of them where it tells that.
_MPIRUN = {
    "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE",
    "MV2_COMM_WORLD_RANK": "MV2_COMM_WORLD_SIZE",
    "PMI_RANK": "PMI_SIZE",
    "PMIX_RANK": "",
}
_FIRST_OWN_STEP = 0xFFFFFFF0  # from here on: a batch script, the shell of salloc, not srun's tasks
_INTERACTIVE = ("bash", "interactive")  # names of jobs in which a person starts the processes


class LaunchError(ValueError):
    """A launcher's variables do not fit together, or not the options; the text names one."""


@dataclass(frozen=True)
class Launch:
    """How this process was started; alone it is the first of one."""

    launcher: Literal["torchrun", "srun", "by hand"] | None = None
    rank: int = 0  # among all processes; by hand among those of this machine
    local_rank: int = 0  # among those of this machine
    node_rank: int = 0  # by hand: this machine's number
    world_size: int = 1  # all processes; by hand they are not counted here
    local_world_size: int = 1  # processes of this machine
    has_port: bool = field(default=True, compare=False)  # by hand: whether MASTER_PORT is set
    in_slurm_job: bool = False
    notice: str | None = None  # for the person who started it

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run's files and reports; the others compute."""
        return self.rank == 0 and self.node_rank == 0

    @property
    def is_shared(self) -> bool:
        """Whether torchrun or srun started other processes beside this one."""
        return self.launcher in ("torchrun", "srun") and self.world_size > 1

    @property
    def on_several_nodes(self) -> bool:
        """Whether other machines take part, as far as the launcher's variables tell."""
        return self.launcher == "by hand" or self.world_size > self.local_world_size

    @property
    def name(self) -> str:
        """Name the process among those of its run: rank3, or node1-rank0 of machines by hand."""
        machine = f"node{self.node_rank}-" if self.launcher == "by hand" else ""
        return f"{machine}rank{self.rank}"


def read_launch(environment: Mapping[str, str], *, by_hand: bool = False) -> Launch:
    """Tell from the variables how a process was started.

    Args:
        environment: as os.environ; a variable that is set to nothing is not set.
        by_hand: whether MASTER_ADDR and NODE_RANK spread the work, as they do a training.

    Raises:
        LaunchError: a variable is no number, or left over without the others of its launcher.
    """
    given = {name: text.strip() for name, text in environment.items() if text.strip()}
    numbers = {name: _number(name, given[name]) for name in sorted(_NUMBERS & given.keys())}
    for name in _COUNTS:
        if numbers.get(name) == 0:
            raise LaunchError(f"{name} must be at least 1, got 0: unset {name}")
    if not _missing(_TORCHRUN, given):
        launch = _under_torchrun(given, numbers)
    elif _is_task_of_srun(given, numbers):
        launch = _under_srun(numbers)
    else:
        _refuse_left_overs(given, numbers)
        launch = _by_hand(given, numbers) if by_hand else Launch()
    job = "SLURM_JOB_ID" in given
    return replace(launch, in_slurm_job=job, notice=_notice(launch, numbers) if job else None)


def current_launch(*, by_hand: bool = False) -> Launch:
    """Tell how this process was started.

    Raises:
        LaunchError: as read_launch.
    """
    return read_launch(os.environ, by_hand=by_hand)


def is_first_process() -> bool:
    """Say whether this is the one process of a training that reports."""
    return current_launch(by_hand=True).is_first


def is_launched() -> bool:
    """Whether torchrun or srun started several processes."""
    return current_launch().is_shared


def launched_local_rank() -> int:
    """Give the number of this process among those of its machine, from 0; alone it is 0."""
    launch = current_launch()
    return launch.local_rank if launch.is_shared else 0


def check_launch(launch: Launch, devices: Devices, num_nodes: int) -> None:
    """Refuse a training whose options ask for other processes than were started.

    Raises:
        LaunchError: the text names both numbers.
    """
    if launch.launcher is None and num_nodes > 1:
        raise LaunchError(
            f"train.num_nodes is {num_nodes}, but nothing says how the machines find each other: "
            "start with torchrun or srun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK"
        )
    if launch.launcher == "by hand" and num_nodes > 1 and not launch.has_port:
        raise LaunchError(
            f"train.num_nodes is {num_nodes}, but MASTER_PORT is not set: set it to one free port "
            "of the first machine, the same on all"
        )
    if launch.launcher == "by hand" and launch.node_rank >= num_nodes:
        raise LaunchError(
            f"NODE_RANK is {launch.node_rank}, but train.num_nodes is {num_nodes}: machines count "
            "from 0"
        )
    if launch.launcher == "by hand" and launch.local_rank >= devices.count:
        raise LaunchError(
            f"LOCAL_RANK is {launch.local_rank}, but this machine has {devices.count} devices for "
            "the run: unset LOCAL_RANK, Lightning starts the processes of a machine"
        )
    wanted = devices.count * num_nodes
    if launch.launcher in ("torchrun", "srun") and launch.world_size != wanted:
        raise LaunchError(
            f"{launch.launcher} started {launch.world_size} processes, but train.num_nodes "
            f"{num_nodes} with {devices.count} devices a machine needs {wanted}: start a process "
            "for each device, or set train.num_nodes and train.num_gpus"
        )


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise LaunchError(f"{name} must be a whole number from 0, got {text!r}: unset {name}")
    return int(text)


def _missing(names: Sequence[str], given: Mapping[str, str]) -> list[str]:
    return [name for name in names if name not in given]


def _under_torchrun(given: Mapping[str, str], numbers: Mapping[str, int]) -> Launch:
    rank, world_size, local_rank, local_world_size = (numbers[name] for name in _TORCHRUN)
    if rank >= world_size:
        raise LaunchError(f"RANK is {rank}, but WORLD_SIZE is {world_size}: ranks count from 0")
    if local_rank >= local_world_size:
        raise LaunchError(
            f"LOCAL_RANK is {local_rank}, but LOCAL_WORLD_SIZE is {local_world_size}: ranks count "
            "from 0"
        )
    if world_size > 1 and (absent := _missing(_RENDEZVOUS, given)):
        raise LaunchError(_left_over("WORLD_SIZE", given, absent, "start with torchrun"))
    return Launch(
        "torchrun",
        rank=rank,
        local_rank=local_rank,
        world_size=world_size,
        local_world_size=local_world_size,
    )


def _is_task_of_srun(given: Mapping[str, str], numbers: Mapping[str, int]) -> bool:
    is_by_person = given.get("SLURM_JOB_NAME") in _INTERACTIVE
    return not (is_by_person or _missing(_SRUN, given)) and (
        numbers["SLURM_STEP_ID"] < _FIRST_OWN_STEP
    )


def _under_srun(numbers: Mapping[str, int]) -> Launch:
    _, world_size, rank, local_rank = (numbers[name] for name in _SRUN)
    if world_size > 1 and "SLURM_NTASKS_PER_NODE" not in numbers:
        raise LaunchError(
            f"SLURM_NTASKS is {world_size}, but SLURM_NTASKS_PER_NODE is not set: give srun "
            "--ntasks-per-node in place of --ntasks"
        )
    return Launch(
        "srun",
        rank=rank,
        local_rank=local_rank,
        world_size=world_size,
        local_world_size=max(1, world_size // numbers.get("SLURM_NNODES", 1)),
    )


def _refuse_left_overs(given: Mapping[str, str], numbers: Mapping[str, int]) -> None:
    """Refuse numbers other than 0 that stand without the others of their launcher."""
    job = given.get("SLURM_JOB_NAME")
    if numbers.get("SLURM_PROCID") and job in _INTERACTIVE:
        raise LaunchError(
            f"SLURM_PROCID is {numbers['SLURM_PROCID']}, but the job's name is {job}, as of a "
            "shell in which a person starts the processes: give srun another --job-name"
        )
    if numbers.get("SLURM_PROCID"):
        absent = _missing(_SRUN, given) or ["a SLURM_STEP_ID of srun"]
        raise LaunchError(_left_over("SLURM_PROCID", given, absent, "start with srun"))
    is_rank = numbers.get("RANK", 0) > 0
    is_alone = "RANK" in given or "MASTER_ADDR" not in given
    if is_rank or (is_alone and numbers.get("WORLD_SIZE", 1) > 1):
        name = "RANK" if is_rank else "WORLD_SIZE"
        absent = _missing(_TORCHRUN, given)
        raise LaunchError(_left_over(name, given, absent, "start with torchrun"))
    for name in _BY_HAND:
        if numbers.get(name) and "MASTER_ADDR" not in given:
            how = "set it to the first machine's address"
            raise LaunchError(_left_over(name, given, ["MASTER_ADDR"], how))
    if "MASTER_ADDR" not in given:
        _refuse_mpirun(given)


def _refuse_mpirun(given: Mapping[str, str]) -> None:
    for rank, size in _MPIRUN.items():
        for name, least in ((rank, 1), (size, 2)):
            if name in given and _number(name, given[name]) >= least:
                raise LaunchError(
                    f"{name} is {given[name]}, as mpirun sets it, whose processes cannot find each "
                    f"other here: start with torchrun or srun, or unset {name}"
                )


def _left_over(name: str, given: Mapping[str, str], absent: Sequence[str], how: str) -> str:
    verb = "is" if len(absent) == 1 else "are"
    listed = " and ".join(absent)
    return f"{name} is {given[name]}, but {listed} {verb} not set: {how}, or unset {name}"


def _by_hand(given: Mapping[str, str], numbers: Mapping[str, int]) -> Launch:
    """Number the process among machines that are told by hand, and beside Lightning's first.

    LOCAL_WORLD_SIZE by itself lets Lightning start so many processes on the CPU.
    """
    alone = Launch(local_world_size=max(1, numbers.get("LOCAL_WORLD_SIZE", 1)))
    if "MASTER_ADDR" not in given or not numbers.keys() & {*_BY_HAND}:
        return alone
    local_rank = numbers.get("LOCAL_RANK", 0)
    node_rank = numbers.get("NODE_RANK", numbers.get("GROUP_RANK", 0))
    return replace(
        alone,
        launcher="by hand",
        rank=local_rank,
        local_rank=local_rank,
        node_rank=node_rank,
        has_port="MASTER_PORT" in given,
    )


def _notice(launch: Launch, numbers: Mapping[str, int]) -> str | None:
    tasks = numbers.get("SLURM_NTASKS", 1)
    if launch.launcher is not None or tasks == 1:
        return None
    return (
        f"SLURM has {tasks} tasks for this job (SLURM_NTASKS), but srun did not start this "
        "process: it works alone; put srun before the command to use them all"
    )
