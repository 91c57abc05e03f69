"""The LightningModule for FSDP2: parameters, gradients and optimiser state split over processes."""

from __future__ import annotations

from torch.distributed.fsdp import FSDPModule, fully_shard
from typing_extensions import override

from ddetr_train.module.detection_module import DetectionModule


class ShardedDetectionModule(DetectionModule):
    """Gathers one transformer layer, or the backbone, at a time."""

    @override
    def configure_model(self) -> None:
        """Split the network; Lightning calls this again, after which nothing is left to do."""
        if isinstance(self.model, FSDPModule) or self.device_mesh is None:
            return
        mesh = self.device_mesh["data_parallel"]
        transformer = self.model.transformer
        for layer in (*transformer.encoder.layers, *transformer.decoder.layers):
            fully_shard(layer, mesh=mesh)
        fully_shard(self.model.backbone[0], mesh=mesh)
        fully_shard(self.model, mesh=mesh)
