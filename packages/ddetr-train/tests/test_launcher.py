"""Which launcher started a process, told from the environment alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ddetr_train.process import Launch, LaunchError, check_launch, choose_devices, read_launch

MEETING_POINT = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NODELIST": "node[1-2]"}
TASKS = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "2"}
TASK = {"SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_STEP_ID": "0"}
BATCH = JOB | TASKS | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}

LAUNCHES: dict[str, tuple[Mapping[str, str], Launch]] = {
    "nothing": ({}, Launch()),
    "torchrun": (TORCHRUN | MEETING_POINT, Launch("torchrun", 3, 1, 0, 4, 2)),
    "one process of torchrun": (
        {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"},
        Launch("torchrun"),
    ),
    "srun": (JOB | TASKS | TASK, Launch("srun", 3, 1, 0, 4, 2, in_slurm_job=True)),
    "one task of srun": (
        JOB | TASK | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
        Launch("srun", in_slurm_job=True),
    ),
    "srun, with PyTorch's variables made of its own": (
        JOB | TASKS | TASK | MEETING_POINT | {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"},
        Launch("srun", 3, 1, 0, 4, 2, in_slurm_job=True),
    ),
    "torchrun in a batch script": (
        BATCH | TORCHRUN | MEETING_POINT,
        Launch("torchrun", 3, 1, 0, 4, 2, in_slurm_job=True),
    ),
    "a second machine by hand": (
        MEETING_POINT | {"NODE_RANK": "1"},
        Launch("by hand", node_rank=1),
    ),
    "a process that Lightning started": (
        MEETING_POINT | {"NODE_RANK": "0", "LOCAL_RANK": "1", "WORLD_SIZE": "2"},
        Launch("by hand", rank=1, local_rank=1),
    ),
    "processes for Lightning to start": ({"LOCAL_WORLD_SIZE": "2"}, Launch(local_world_size=2)),
    "only an address": (MEETING_POINT, Launch()),
    "one process of mpirun": ({"PMI_RANK": "0", "PMI_SIZE": "1", "PMIX_RANK": "0"}, Launch()),
    "srun with its own MPI": (
        JOB | TASKS | TASK | {"PMI_RANK": "3", "PMI_SIZE": "4"},
        Launch("srun", 3, 1, 0, 4, 2, in_slurm_job=True),
    ),
    "zeros": ({"RANK": "0", "LOCAL_RANK": "0", "NODE_RANK": "0", "SLURM_PROCID": "0"}, Launch()),
    "empty texts": ({"RANK": "", "NODE_RANK": " "}, Launch()),
    "a job of one task without srun": (
        JOB | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"},
        Launch(in_slurm_job=True),
    ),
}


@pytest.mark.parametrize("case", LAUNCHES)
def test_the_variables_tell_who_started_a_training(case: str) -> None:
    """One launcher, and the number of this process among its own."""
    environment, expected = LAUNCHES[case]
    assert read_launch({"PATH": "/bin"} | environment, by_hand=True) == expected


ALONE_IN_A_JOB = {
    "a batch script": BATCH,
    "a batch script's own step": BATCH | {"SLURM_STEP_ID": "4294967291"},
    "a shell that srun opened": BATCH | {"SLURM_STEP_ID": "0", "SLURM_JOB_NAME": "bash"},
}


@pytest.mark.parametrize("case", ALONE_IN_A_JOB)
def test_without_srun_a_job_has_one_process_and_says_so(case: str) -> None:
    """The other tasks do not exist, so nobody waits for them; one sentence tells what to do."""
    launch = read_launch(ALONE_IN_A_JOB[case], by_hand=True)
    assert (launch.launcher, launch.world_size, launch.is_first) == (None, 1, True)
    assert launch.in_slurm_job
    assert "4 tasks" in str(launch.notice)
    assert "put srun before the command" in str(launch.notice)


LEFT_OVER = {
    "RANK is 1, but WORLD_SIZE and LOCAL_RANK and LOCAL_WORLD_SIZE are not set": {"RANK": "1"},
    "WORLD_SIZE is 2, but LOCAL_RANK and LOCAL_WORLD_SIZE are": {"RANK": "0", "WORLD_SIZE": "2"},
    "WORLD_SIZE is 4, but MASTER_ADDR and MASTER_PORT are not set": TORCHRUN,
    "RANK is 4, but WORLD_SIZE is 4": TORCHRUN | MEETING_POINT | {"RANK": "4"},
    "LOCAL_RANK is 1, but MASTER_ADDR is not set": {"LOCAL_RANK": "1"},
    "NODE_RANK is 5, but MASTER_ADDR is not set": {"NODE_RANK": "5"},
    "GROUP_RANK is 1, but MASTER_ADDR is not set": {"GROUP_RANK": "1"},
    "SLURM_PROCID is 1, but SLURM_STEP_ID and SLURM_NTASKS": {"SLURM_PROCID": "1"},
    "the job's name is bash": JOB | TASKS | TASK | {"SLURM_JOB_NAME": "bash"},
    "give srun --ntasks-per-node": JOB | TASK | {"SLURM_NTASKS": "4"},
    "RANK must be a whole number from 0, got 'x'": {"RANK": "x"},
    "NODE_RANK must be a whole number from 0, got '-1'": {"NODE_RANK": "-1"},
    "WORLD_SIZE must be a whole number from 0, got '1.5'": {"WORLD_SIZE": "1.5"},
    "MASTER_PORT must be a whole number from 0": {"MASTER_PORT": "tcp"},
    "WORLD_SIZE is 2, but RANK and LOCAL_RANK and LOCAL_WORLD_SIZE are": {"WORLD_SIZE": "2"},
    "WORLD_SIZE must be at least 1, got 0": {"WORLD_SIZE": "0"},
    "SLURM_NTASKS must be at least 1, got 0": JOB | {"SLURM_NTASKS": "0"},
    "LOCAL_RANK is 2, but LOCAL_WORLD_SIZE is 2": TORCHRUN | MEETING_POINT | {"LOCAL_RANK": "2"},
    "OMPI_COMM_WORLD_SIZE is 2, as mpirun sets it": {
        "OMPI_COMM_WORLD_RANK": "0",
        "OMPI_COMM_WORLD_SIZE": "2",
    },
    "PMI_RANK is 1, as mpirun sets it": {"PMI_RANK": "1", "PMI_SIZE": "2"},
    "PMIX_RANK must be a whole number from 0": {"PMIX_RANK": "x"},
    "SLURM_PROCID must be a whole number from 0": JOB | TASKS | TASK | {"SLURM_PROCID": "a"},
}


@pytest.mark.parametrize("by_hand", [True, False], ids=["training", "other work"])
@pytest.mark.parametrize("sentence", LEFT_OVER)
def test_what_is_left_over_is_refused_by_name(sentence: str, by_hand: bool) -> None:
    """A process that believed it would be silent; the text names the variable."""
    # fault 11
    with pytest.raises(LaunchError, match=sentence):
        read_launch(LEFT_OVER[sentence], by_hand=by_hand)


@pytest.mark.parametrize("extra", [{"NODE_RANK": "1"}, {"LOCAL_RANK": "1"}])
def test_machines_told_by_hand_share_only_a_training(extra: Mapping[str, str]) -> None:
    """An evaluation there is whole, and reports."""
    assert read_launch(MEETING_POINT | extra) == Launch()
    assert not read_launch(MEETING_POINT | extra, by_hand=True).is_first


@pytest.mark.parametrize(
    ("launch", "name", "is_first", "is_shared"),
    [
        (Launch(), "rank0", True, False),
        (Launch("torchrun", 1, 1, 0, 2, 2), "rank1", False, True),
        (Launch("srun", 0, 0, 0, 2, 2), "rank0", True, True),
        (Launch("torchrun"), "rank0", True, False),
        (Launch("by hand", node_rank=1), "node1-rank0", False, False),
        (Launch("by hand", rank=1, local_rank=1), "node0-rank1", False, False),
    ],
)
def test_one_process_is_the_first(
    launch: Launch, name: str, is_first: bool, is_shared: bool
) -> None:
    """All others have a name for their logs."""
    assert (launch.name, launch.is_first, launch.is_shared) == (name, is_first, is_shared)


@pytest.mark.parametrize(
    ("launch", "num_nodes", "sentence"),
    [
        (Launch(), 2, "train.num_nodes is 2, but nothing says how"),
        (Launch("by hand", node_rank=5), 1, "NODE_RANK is 5, but train.num_nodes is 1"),
        (Launch("by hand", rank=2, local_rank=2), 1, "LOCAL_RANK is 2, but this machine has 1"),
        (Launch("torchrun", world_size=4), 2, "torchrun started 4 processes"),
        (Launch("srun", world_size=2), 1, "srun started 2 processes"),
    ],
)
def test_a_training_has_the_processes_that_it_asks_for(
    launch: Launch, num_nodes: int, sentence: str
) -> None:
    """Else some would wait for others that nobody started, or train alone in silence."""
    with pytest.raises(LaunchError, match=sentence):
        check_launch(launch, choose_devices(1, [0], gpus_present=1), num_nodes)


@pytest.mark.parametrize(
    ("launch", "num_nodes"),
    [
        (Launch(), 1),
        (Launch("by hand", node_rank=1), 2),
        (Launch("torchrun", 1, 1, 0, 2, 1), 2),
    ],
)
def test_matching_processes_may_train(launch: Launch, num_nodes: int) -> None:
    """One process a device."""
    check_launch(launch, choose_devices(1, [0], gpus_present=1), num_nodes)
