"""How a run is spread over processes: one device, DDP or FSDP2."""

from __future__ import annotations

from typing import Any

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from ddetr_train.config import TrainConfig
from ddetr_train.process import Devices, Launch

_PRECISIONS: dict[str, Any] = {"fp32": "32-true", "fp16": "16-mixed", "bf16": "bf16-mixed"}


def choose_precision(config: TrainConfig) -> Any:
    """Name the precision as Lightning does."""
    return _PRECISIONS[config.precision]


def build_strategy(config: TrainConfig, devices: Devices) -> Strategy | str:
    """Choose Lightning's strategy; one device needs none."""
    if config.distributed_strategy == "fsdp":
        return ModelParallelStrategy(
            data_parallel_size=devices.count * config.num_nodes,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
        )
    if devices.count * config.num_nodes > 1:
        return DDPStrategy(gradient_as_bucket_view=True)
    return "auto"


def cluster_environment(launch: Launch) -> ClusterEnvironment:
    """Tell Lightning who started the process, where it would go by single variables.

    Under SLURM Lightning would save and requeue by itself; `Preemption` saves there.
    """
    if launch.launcher == "torchrun":
        return TorchElasticEnvironment()
    if launch.launcher == "srun":
        return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment()
