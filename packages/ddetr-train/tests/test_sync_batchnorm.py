"""train.sync_batchnorm: where it acts, where it is refused, and what is told.

The processes are made up or run on the CPU; on GPUs it was not run.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ddetr_model import DeformableDETR, ModelConfig, SetCriterion, freeze_modules
from ddetr_train import TrainConfig
from ddetr_train.data import DetectionDataModule
from ddetr_train.module import synchronize_norms
from ddetr_train.nan import first_non_finite
from ddetr_train.planning import plan_training


@pytest.fixture
def with_norms(model_config: ModelConfig) -> ModelConfig:
    return model_config.model_copy(update={"backbone": "timm:test_resnet"})


def test_norms_of_several_processes_are_synchronised(with_norms: ModelConfig) -> None:
    """All live ones, which a checkpoint names as before; the network's own file still fits."""
    network = DeformableDETR(with_norms)
    names = list(network.state_dict())
    told = synchronize_norms(network, 2)
    count = sum(isinstance(each, nn.SyncBatchNorm) for each in network.modules())
    assert told == f"train.sync_batchnorm: {count} batch norms share statistics over 2 processes"
    assert count > 0
    assert list(network.state_dict()) == names
    DeformableDETR(with_norms).load_state_dict(network.state_dict())


def test_what_has_no_effect_is_told(with_norms: ModelConfig) -> None:
    """One process; or a network whose batch norms are all frozen."""
    network = DeformableDETR(with_norms)
    assert "no effect with one process" in synchronize_norms(network, 1)
    freeze_modules(network, ["backbone"])
    assert "no live batch norm" in synchronize_norms(network, 2)
    assert not any(isinstance(each, nn.SyncBatchNorm) for each in network.modules())


def test_a_run_of_one_process_says_that_it_has_no_effect(run_training: Any, recorder: Any) -> None:
    """And trains."""
    run_training(is_dry_run=True, sync_batchnorm=True)
    assert "train.sync_batchnorm has no effect with one process" in recorder.text()


def test_processes_on_cpus_are_refused(
    model_config: ModelConfig, dataset: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch would say so in the first step; here it is said before data are read."""
    torchrun = {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    torchrun |= {"GROUP_RANK": "0", "RANK": "0", "LOCAL_RANK": "0"}
    torchrun |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}  # nobody gets there
    for name, value in torchrun.items():
        monkeypatch.setenv(name, value)
    config = TrainConfig(sync_batchnorm=True, accelerator="cpu")
    with pytest.raises(ValueError, match=r"train\.sync_batchnorm needs GPUs, .* on CPUs"):
        plan_training(model_config, dataset, config, tmp_path)


def test_a_fault_is_named_without_gradients_that_others_would_wait_for(
    with_norms: ModelConfig, dataset: Any
) -> None:
    """A process that has found it leaves; the backward pass of synchronised norms needs all."""
    network = DeformableDETR(with_norms)
    synchronize_norms(network, 2)
    for weight in network.parameters():
        weight.register_hook(lambda gradient: gradient * torch.nan)
    data = DetectionDataModule(dataset, seed=0, num_classes=4)
    batch = next(iter(data.train_dataloader()))
    assert first_non_finite(network, SetCriterion(network.losses), batch) is None
