"""Batches of data workers: how many find room, how they travel, and what is said of a failure."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest
import torch
from torch import Tensor

from ddetr_data.detection import RunEvent
from ddetr_data.torch import DetectionDataset
from ddetr_train.data import DataWorkerError, DetectionDataModule
from ddetr_train.planning import Room, batch_bytes, fit_loading, present_room

MB = 10**6
WIDE = Room(shm_bytes=None, free_files=None)


@pytest.mark.parametrize(
    ("room", "workers", "batches_ahead", "words"),
    [
        (WIDE, 4, 2, ()),
        (Room(120 * MB, 1000), 4, 2, ()),
        (Room(70 * MB, 1000), 4, 1, ("111.1 MB of shared memory", "has 70.0 MB", "--shm-size")),
        (Room(45 * MB, 1000), 2, 1, ("111.1 MB", "2 with 1 ahead load")),
        (Room(20 * MB, 1000), 0, 2, ("111.1 MB", "loads its batches itself")),
        (Room(0, 1000), 0, 2, ("has 0.0 MB",)),
        (Room(None, 70), 3, 1, ("92 open files, 70 are left", "ulimit -n")),
        (Room(None, 10), 0, 2, ("open files",)),
        (Room(10 * MB, 10), 0, 2, ("of shared memory", "open files")),
    ],
)
def test_as_many_workers_load_as_there_is_room_for(room, workers, batches_ahead, words) -> None:
    """Fewer batches ahead first, then fewer workers, then none; one sentence says what is short."""
    loading = fit_loading(4, 2, 10 * MB, room)
    assert (loading.workers, loading.batches_ahead) == (workers, batches_ahead)
    assert (loading.notice is None) == (not words)
    assert all(word in str(loading.notice) for word in words)


def test_without_workers_no_room_is_needed() -> None:
    """Nothing is told either."""
    assert fit_loading(0, 2, 10 * MB, Room(0, 0)).notice is None


def test_the_room_is_what_the_processes_of_a_machine_share(tmp_path) -> None:
    """A folder that is missing has none; batches count pixels and mask."""
    alone, shared = (present_room(tmp_path, processes=count).shm_bytes for count in (1, 4))
    assert alone is not None
    assert shared is not None
    assert shared == pytest.approx(alone / 4, rel=0.1)
    assert present_room(tmp_path / "missing").shm_bytes == 0
    assert batch_bytes(2, (100, 200)) == 2 * 100 * 200 * 13


def batches_of(data: DetectionDataModule) -> list[tuple[Tensor, ...]]:
    return [
        (batch.images, batch.mask, *(value for each in batch.targets for value in each.values()))
        for batch in data.train_dataloader()
    ]


def allow_more_files(count: int) -> None:
    """Let this process open so many more files, and no more than that."""
    resource = pytest.importorskip("resource")
    used = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 100
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + count, hard))


def test_workers_give_the_batches_that_the_run_would_load_itself(dataset, in_a_process) -> None:
    """To the bit, whatever the objects; a batch of any size takes few files."""
    whole = dataset.model_copy(update={"batch_size": 10})

    def compare() -> None:
        alone = DetectionDataModule(whole, seed=3, num_classes=4)
        workers = DetectionDataModule(
            whole.model_copy(update={"workers": 2}), seed=3, num_classes=4
        )
        allow_more_files(40)
        for left, right in zip(batches_of(alone), batches_of(workers), strict=True):
            assert all(torch.equal(*pair) for pair in zip(left, right, strict=True))

    assert in_a_process(compare) == 0


def test_a_low_limit_of_open_files_is_raised_as_far_as_it_may_be(in_a_process, tmp_path) -> None:
    """The soft limit up to the hard one."""

    def look() -> None:
        allow_more_files(5)
        assert present_room(tmp_path).free_files < 10
        assert present_room(tmp_path, files_wanted=200).free_files >= 199

    assert in_a_process(look) == 0


def kill_worker(signum: int) -> int:
    """End the first process that loads batches; gives its number."""
    pid = multiprocessing.active_children()[0].pid
    assert pid  # 0 would be this process and all beside it
    os.kill(pid, signum)
    return pid


class EndWorker:
    """Ends one of the processes that load batches, at the first step."""

    def __init__(self, signum: int) -> None:
        self.signum = signum
        self.pid = 0

    def __call__(self, event: RunEvent) -> None:
        if event.kind == "step" and not self.pid:
            self.pid = kill_worker(self.signum)


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("signum", "reason"), [(signal.SIGKILL, "where memory runs out"), (signal.SIGBUS, "/dev/shm")]
)
def test_a_dead_worker_is_named_with_its_signal(
    run_training, dataset, in_a_process, signum, reason
) -> None:
    """Its pid, what ended it, and the likely reason with what to do."""
    # faults 9 and 20
    loading = dataset.model_copy(update={"workers": 1})

    def work() -> None:
        ender = EndWorker(signum)
        with pytest.raises(DataWorkerError, match=reason) as failure:
            run_training(data=loading, observers=[ender])
        name = signal.Signals(signum).name
        assert f"data worker {ender.pid} was ended by {name}" in str(failure.value)

    assert in_a_process(work) == 0


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_worker_that_dies_while_a_checkpoint_is_written_is_named(
    run_training, dataset, in_a_process, monkeypatch
) -> None:
    """PyTorch raises the news in the midst of whatever the run does; the file is not to blame."""
    # fault 20
    save = torch.save
    loading = dataset.model_copy(update={"workers": 1})

    def end_and_save(*arguments: object) -> None:
        kill_worker(signal.SIGKILL)
        for _ in range(1000):
            save(*arguments)

    def work() -> None:
        monkeypatch.setattr(torch, "save", end_and_save)
        with pytest.raises(DataWorkerError, match="was ended by SIGKILL"):
            run_training(data=loading, checkpoint_interval_steps=1)

    assert in_a_process(work) == 0


class Raising:
    """Raises in a data worker, at every image."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self, dataset: DetectionDataset, index: int) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(24, "Too many open files"), "too many open files .*ulimit -n"),
        (
            RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space"),
            "shared memory is full .*--shm-size",
        ),
    ],
)
def test_what_a_worker_is_short_of_is_said(
    run_training, dataset, in_a_process, monkeypatch, error, words
) -> None:
    """With what to raise; no file, cache or connection is blamed."""
    # faults 9 and 20
    raising = Raising(error)

    def work() -> None:
        monkeypatch.setattr(DetectionDataset, "__getitem__", lambda self, at: raising(self, at))
        with pytest.raises(DataWorkerError, match=words):
            run_training(data=dataset.model_copy(update={"workers": 1}))

    assert in_a_process(work) == 0
