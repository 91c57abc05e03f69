"""Which GPUs a run takes, and when it takes the CPU."""

from __future__ import annotations

import pytest

from ddetr_train.process import choose_devices, choose_gpu_ids

RULE = [
    (1, [0], [0]),
    (1, [3], [3]),
    (2, [0], [0, 1]),
    (2, [1], [1, 0]),
    (3, [2], [2, 0, 1]),
    (4, [2, 3], [2, 3, 0, 1]),
    (1, [2, 3], [2, 3]),
    (2, [5, 1, 0], [5, 1, 0]),
    (4, [1, 3], [1, 3, 0, 2]),
]


@pytest.mark.parametrize(("num_gpus", "gpu_ids", "expected"), RULE)
def test_the_larger_count_wins_and_given_ids_come_first(num_gpus, gpu_ids, expected) -> None:
    """More ids than num_gpus are all used; a larger num_gpus adds the lowest free ones."""
    assert choose_gpu_ids(num_gpus, gpu_ids) == expected


def test_without_a_gpu_the_cpu_is_taken_and_said() -> None:
    """One notice, one process, whatever num_gpus says."""
    devices = choose_devices(4, [0], gpus_present=0)
    assert (devices.accelerator, devices.count, devices.names) == ("cpu", 1, ["cpu"])
    assert "CPU" in str(devices.notice)


def test_the_cpu_can_be_asked_for_without_a_notice() -> None:
    """Who sets accelerator to cpu needs no telling."""
    assert choose_devices(1, [0], gpus_present=8, accelerator="cpu").notice is None


def test_a_launcher_decides_the_number_of_cpu_processes() -> None:
    """Under torchrun there are as many processes as it started."""
    assert choose_devices(1, [0], gpus_present=0, cpu_processes=2).count == 2


def test_insisting_on_a_gpu_without_one_is_an_error() -> None:
    """accelerator gpu does not fall back."""
    with pytest.raises(ValueError, match="accelerator is gpu"):
        choose_devices(1, [0], gpus_present=0, accelerator="gpu")


def test_an_id_beyond_the_machine_is_an_error() -> None:
    """The text names the id and the range."""
    with pytest.raises(ValueError, match="GPU 7, but this machine has the GPUs 0 to 3"):
        choose_devices(1, [7], gpus_present=4)


def test_gpus_are_named_in_their_order() -> None:
    """The first given id stays the first device."""
    assert choose_devices(2, [1], gpus_present=2).names == ["cuda:1", "cuda:0"]
