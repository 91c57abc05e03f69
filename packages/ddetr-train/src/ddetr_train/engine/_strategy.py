"""How a run is spread over processes: one device, DDP or FSDP2."""

from __future__ import annotations

from typing import Any

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from typing_extensions import override

from ddetr_train.config import TrainConfig
from ddetr_train.process import Devices, Launch, MeetingPoint, Tell, join_processes

_PRECISIONS: dict[str, Any] = {"fp32": "32-true", "fp16": "16-mixed", "bf16": "bf16-mixed"}


def choose_precision(config: TrainConfig) -> Any:
    """Name the precision as Lightning does."""
    return _PRECISIONS[config.precision]


class _MeetsFirst(Strategy):
    """Meets the other processes by itself; Lightning takes a process group that is there.

    Lightning would wait for them in native code, where no signal is heard, and in silence.
    """

    timeout_seconds = 0.0
    tell: Tell

    @override
    def setup_environment(self) -> None:
        """Wait for the others, and join them.

        Raises:
            RendezvousError: they did not come in time.
        """
        cluster: Any = self.cluster_environment  # type: ignore[attr-defined]
        own: Any = self
        own.accelerator.setup_device(self.root_device)
        own.set_world_ranks()
        is_gpu = self.root_device.type == "cuda"
        point = MeetingPoint(
            cluster.main_address,
            cluster.main_port,
            cluster.global_rank(),
            cluster.world_size(),
            node=cluster.node_rank(),
            nodes=own.num_nodes,
        )
        join_processes(
            point,
            "nccl" if is_gpu else "gloo",
            timeout_seconds=self.timeout_seconds,
            tell=self.tell,
            device=self.root_device if is_gpu else None,
        )
        super().setup_environment()


class _CopiedModel(_MeetsFirst, DDPStrategy):
    """DDP."""


class _SplitModel(_MeetsFirst, ModelParallelStrategy):
    """FSDP2."""


def build_strategy(config: TrainConfig, devices: Devices, tell: Tell) -> Strategy | str:
    """Choose Lightning's strategy; one device needs none.

    Args:
        tell: called with what is waited for, while the processes meet.
    """
    strategy: _MeetsFirst
    if config.distributed_strategy == "fsdp":
        strategy = _SplitModel(
            data_parallel_size=devices.count * config.num_nodes,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
        )
    elif devices.count * config.num_nodes > 1:
        strategy = _CopiedModel(gradient_as_bucket_view=True)
    else:
        return "auto"
    strategy.timeout_seconds, strategy.tell = config.rendezvous_timeout_seconds, tell
    return strategy


def cluster_environment(launch: Launch) -> ClusterEnvironment:
    """Tell Lightning who started the process, where it would go by single variables.

    Under SLURM Lightning would save and requeue by itself; `Preemption` saves there.
    """
    if launch.launcher == "torchrun":
        return TorchElasticEnvironment()
    if launch.launcher == "srun":
        return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment()
