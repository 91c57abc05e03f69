"""What a run will take is known before its first step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ddetr_model.deformable_detr import DeformableDETR
from ddetr_train.config import TrainConfig
from ddetr_train.data import DetectionDataModule, worst_size_hw
from ddetr_train.planning import (
    Plan,
    PlanError,
    Setup,
    check_disk,
    check_memory,
    choose_batch_size,
    estimate_step_bytes,
    largest_batch_size,
    plan_run,
    plan_training,
    readable_size,
)
from ddetr_train.process import Devices


def plan(**options: object) -> Plan:
    config = TrainConfig.model_validate(options)
    return plan_run(config, batches_per_epoch=7, num_values=1000, num_trained=600)


def test_steps_follow_batches_and_accumulation() -> None:
    """A last, smaller group of batches makes a step too."""
    assert plan(num_epochs=3).total_steps == 21
    assert plan(num_epochs=3, accumulate_grad_batches=2).steps_per_epoch == 4


def test_sizes_below_a_gigabyte_are_in_megabytes() -> None:
    """A small disk does not have 0.0 GB."""
    assert [readable_size(count) for count in (8_300_000, 2_500_000_000)] == ["8.3 MB", "2.5 GB"]


def test_checkpoints_hold_weights_and_moments() -> None:
    """AdamW keeps two moments of what trains, SGD one, and the mean weights are a second copy."""
    assert plan().checkpoint_bytes == 4 * (1000 + 2 * 600)
    assert plan(optim={"optimizer": "SGD"}).checkpoint_bytes == 4 * (1000 + 600)
    assert plan(ema_decay=0.9).checkpoint_bytes == 4 * (2000 + 2 * 600)


@pytest.mark.parametrize(
    ("options", "files"),
    [
        ({"num_epochs": 8}, 8 + 3),
        ({"num_epochs": 8, "checkpoint_interval": 5}, 2 + 3),
        ({"num_epochs": 8, "keep_last_checkpoints": 2}, 3 + 3),
    ],
)
def test_files_follow_the_interval_and_the_limit(options, files) -> None:
    """Kept epochs, one more before the oldest goes, and latest, best and the next one."""
    assert plan(**options).checkpoint_files == files


def test_a_run_that_does_not_fit_on_the_disk_is_refused(tmp_path) -> None:
    """The error comes before the first step and says what to change."""
    huge = Plan(1, 1, checkpoint_bytes=10**15, checkpoint_files=10)
    with pytest.raises(PlanError, match="keep_last_checkpoints"):
        check_disk(huge, tmp_path)
    check_disk(plan(), tmp_path / "new" / "newer")
    assert not (tmp_path / "new").exists()


def test_a_batch_that_does_not_fit_into_memory_is_refused() -> None:
    """The error names the batch, what it needs, and what there is."""
    large = replace(plan(), batch_size=4, batch_size_hw=(800, 1344), step_bytes=9_000_000_000)
    check_memory(large, 9_000_000_000, "this machine")
    with pytest.raises(PlanError, match=r"4 images of 800 x 1344 needs 9\.0 GB, the GPU has 8\.0"):
        check_memory(large, 8_000_000_000, "the GPU")


def test_the_lines_say_steps_memory_and_disk() -> None:
    """Each with its unit; an estimate is called one."""
    lines = "\n".join(plan(num_epochs=3).lines())
    assert "7 an epoch, 21 in all" in lines
    assert "estimated" in lines
    assert "6 checkpoints" in lines


def test_a_plan_trains_nothing_and_leaves_no_file(model_config, dataset, tmp_path) -> None:
    """It counts what `train` would do, with the batch size of train."""
    config = TrainConfig(num_epochs=2, batch_size=4, accelerator="cpu")
    found = plan_training(model_config, dataset, config, tmp_path / "run")
    assert (found.steps_per_epoch, found.batch_size, found.batch_size_hw) == (3, 4, (64, 64))
    assert found.step_bytes > found.checkpoint_bytes / 3 + 100e6  # PyTorch alone takes more
    assert not (tmp_path / "run").exists()


def test_a_training_begins_with_its_plan(run_training, recorder) -> None:
    """The lines that `ddetr plan` shows come before the first step, and train.batch_size counts."""
    run_training(num_epochs=1, batch_size=5)
    text = recorder.text()
    assert "steps: 2 an epoch, 2 in all" in text
    assert "memory: " in text
    assert len(recorder.of("step")) == 2


def test_a_machine_too_small_is_found_before_the_first_step(
    run_training, dataset, recorder
) -> None:
    """On the CPU the estimate is compared with the machine's memory; no machine has this much."""
    sides = {"scales": (20_000,), "random_resize_max_size": 40_000}
    huge = dataset.augmentation.model_copy(update=sides)
    with pytest.raises(PlanError, match="this machine has"):
        run_training(data=dataset.model_copy(update={"augmentation": huge}), batch_size=4096)
    assert recorder.of("step") == []


def test_auto_keeps_the_given_batch_size_on_a_cpu_and_says_so(run_training, recorder) -> None:
    """There is no GPU to measure; the run goes on with dataset.batch_size."""
    run_training(num_epochs=1, batch_size="auto")
    assert "auto measures GPUs; on the CPU it is 2" in recorder.text()
    run_training(num_epochs=2, batch_size="auto")


def test_auto_is_for_one_gpu(model_config, dataset) -> None:
    """Processes that measured apart could choose apart."""
    data = DetectionDataModule(dataset, seed=0, num_classes=4)
    config = TrainConfig(batch_size="auto")
    with pytest.raises(ValueError, match="one GPU"):
        choose_batch_size(None, Setup(config, data, Devices("gpu", [0, 1]), ()))


@pytest.mark.parametrize("room", [1, 2, 3, 7, 8, 10, 99])
def test_the_largest_batch_that_fits_is_found(room) -> None:
    """Whatever it is, up to the number of images, with few trials."""
    trials: list[int] = []

    def fits(batch_size: int) -> bool:
        trials.append(batch_size)
        return batch_size <= room

    assert largest_batch_size(fits, limit=10) == min(room, 10)
    assert len(trials) <= 8
    with pytest.raises(ValueError, match="not even"):
        largest_batch_size(lambda _: False, limit=10)


def test_the_estimate_follows_batch_pixels_and_options(model_config) -> None:
    """Twice the images are twice the activations; checkpointing needs less, EMA more."""
    network = DeformableDETR(model_config)
    few, many = (
        estimate_step_bytes(network, TrainConfig(activation_checkpoint=False), size, (128, 128))
        for size in (2, 4)
    )
    weights = estimate_step_bytes(network, TrainConfig(activation_checkpoint=False), 1, (32, 32))
    assert many - few == pytest.approx(few - weights, rel=0.35)
    mean = TrainConfig(activation_checkpoint=False, ema_decay=0.9)
    assert estimate_step_bytes(network, mean, 2, (128, 128)) > few
    network.set_activation_checkpointing(True)
    assert estimate_step_bytes(network, TrainConfig(), 4, (128, 128)) < many


def test_the_worst_batch_holds_both_orientations_without_fixed_padding(dataset) -> None:
    """Views of 64 to 85 pixels: a square of the longest side, rounded up."""
    loose = dataset.augmentation.model_copy(
        update={"fixed_padding": False, "random_resize_max_size": 200}
    )
    sizes = np.array([(64, 64), (96, 64)], np.int32)
    assert worst_size_hw(loose, sizes) == (96, 96)
    assert worst_size_hw(dataset.augmentation, sizes) == (64, 64)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_is_measured(model_config, dataset, tmp_path) -> None:
    """The step runs there, and takes at least the weights, their gradients and moments."""
    found = plan_training(model_config, dataset, TrainConfig(batch_size="auto"), tmp_path)
    assert found.is_measured
    assert found.batch_size == 10
    assert found.step_bytes > found.checkpoint_bytes
