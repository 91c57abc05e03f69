"""The labelled images of a run, read once, and the batches that both loaders make of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import BatchSampler

from ddetr_data import DatasetConfig, available_cores
from ddetr_data.coco import DetectionSet
from ddetr_data.images import PreprocessConfig, dataset_white
from ddetr_data.loading import LabelContract, open_sources
from ddetr_data.torch import (
    DetectionDataset,
    DetectionSampler,
    EvalTransform,
    Mosaic,
    OwnTransform,
    RepeatFactors,
    TrainTransform,
    fixed_canvas_hw,
    function_name,
    repeat_factors,
)
from ddetr_train.checkpoints import images_seen
from ddetr_train.data._loader import BatchLoader, refuse_unsendable
from ddetr_train.data._parcel import PackingCollate
from ddetr_train.data.worst_size import worst_size_hw
from ddetr_train.process import leave_signals_to_the_run

# Keys of an augmentation that older checkpoints lack; at 0 they do nothing.
_MAY_BE_OFF = {"color_jitter", "mosaic"}


class Position(NamedTuple):
    """Where a run stands: whole epochs, and batches of the next one."""

    epoch: int
    batches: int


class DetectionDataModule(pl.LightningDataModule):
    """Training images, and validation images if there are any."""

    def __init__(
        self,
        dataset: DatasetConfig,
        *,
        seed: int,
        num_classes: int,
        transform: OwnTransform | None = None,
    ) -> None:
        """Read the labels; a transform of one's own is for training images alone.

        Raises:
            FileNotFoundError, ValueError: labels are missing or faulty, a category id is not below
                num_classes, validation numbers its classes otherwise than training, or too many
                objects are dropped; the text says where and what to do.
        """
        super().__init__()
        if not dataset.train_data_sources:
            raise ValueError("training needs dataset.train_data_sources")
        self.position = Position(0, 0)
        self._images_seen = 0  # of the epoch at hand by all processes, when this run began
        self.train_set = open_sources(
            dataset.train_data_sources,
            num_classes=num_classes,
            dataset_type=dataset.dataset_type,
            corrupt_images=dataset.corrupt_images,
            ignore_regions=dataset.ignore_regions,
            contract=LabelContract.of_training(dataset),
        )
        white = dataset_white(dataset).or_else(self.train_set.largest.covering())
        config = PreprocessConfig.from_augmentation(dataset.augmentation)
        self.preprocess = config.with_white(white)
        self.val_set = (
            open_sources(
                dataset.val_data_sources,
                num_classes=num_classes,
                dataset_type=dataset.dataset_type,
                ignore_regions=dataset.ignore_regions,
                contract=LabelContract.of_validation(dataset, self.train_set.categories),
            )
            if dataset.val_data_sources
            else None
        )
        self.eval_class_ids = dataset.eval_class_ids
        self.match_classes = dataset.match_classes
        self.augmentation = dataset.augmentation
        self.num_classes = num_classes
        self.batch_size = dataset.batch_size
        self._dataset = dataset
        self._seed = seed
        self.transform = transform
        # More workers than cores only hinder each other.
        self.workers = min(dataset.workers, available_cores())
        refuse_unsendable(transform, self.workers)
        self.batches_ahead = 2  # of each worker
        self._loaders: list[BatchLoader] = []

    def identity(self) -> dict[str, Any]:
        """Say what a resumed run must find unchanged."""
        white = {name: level for name, level in asdict(self.preprocess.white).items() if level}
        augmentation = self._dataset.augmentation.model_dump(mode="json")
        return {
            "images": len(self.train_set.images),
            "labels": self._labels_digest,
            "classes": {str(each.id): each.name for each in self.train_set.categories},
            "batch_size": self.batch_size,
            "train_sampler": self._dataset.sampler_in_effect,
            "augmentation": {k: v for k, v in augmentation.items() if v or k not in _MAY_BE_OFF},
            **({"white_levels": white} if white else {}),
            **({"repeat_threshold": self.repeats.threshold} if self.repeats else {}),
            **({"transform": function_name(self.transform)} if self.transform else {}),
        }

    @cached_property
    def _labels_digest(self) -> str:
        return _digest(self.train_set)

    @cached_property
    def repeats(self) -> RepeatFactors | None:
        """How often images are drawn by the sampler repeat_factor; None with another one."""
        if self._dataset.sampler_in_effect != "repeat_factor":
            return None
        return repeat_factors(self.train_set, self._dataset.repeat_threshold)

    @property
    def draws_per_epoch(self) -> int:
        """Images of an epoch by all processes, those that are drawn again too."""
        return self.repeats.draws if self.repeats else len(self.train_set.images)

    def batches_per_epoch(self, num_replicas: int) -> int:
        """Count the batches of one process."""
        draws = -(-self.draws_per_epoch // num_replicas)
        return -(-draws // self.batch_size)

    def batches_done(self, num_replicas: int) -> int:
        """Count the batches of one process that a resumed run need not draw in its first epoch."""
        draws = -(-self.draws_per_epoch // num_replicas)
        left = draws - min(self._images_seen // num_replicas, draws)
        return self.batches_per_epoch(num_replicas) - -(-left // self.batch_size)

    def worst_size_hw(self) -> tuple[int, int]:
        """Height and width of the largest training batch."""
        return worst_size_hw(self._dataset.augmentation, self.train_set.sizes_wh)

    def train_dataloader(self) -> BatchLoader:
        """Draw from `position` on; later epochs follow by themselves."""
        augmentation = self._dataset.augmentation
        canvas_hw = fixed_canvas_hw(augmentation, self.train_set.sizes_wh)
        dataset = DetectionDataset(
            self.train_set,
            TrainTransform(augmentation, canvas_hw),
            self._seed,
            corrupt_images=self._dataset.corrupt_images,
            white=self.preprocess.white,
            own_transform=self.transform,
            mosaic=Mosaic.of(augmentation),
        )
        sampler = DetectionSampler(
            self.train_set.source_numbers,
            self._dataset.sampler_in_effect,
            seed=self._seed,
            factors=self.repeats.images if self.repeats else None,
            **self._replica(),
        )
        batches = EpochBatches(dataset, sampler, self.batch_size)
        batches.start_at(self.position.epoch, self._images_seen)
        return self._loader(dataset, batches, PackingCollate(canvas_hw))

    def val_dataloader(self) -> BatchLoader | list[Any]:
        """Give every image in order; where processes would differ in number, some come twice."""
        if self.val_set is None:
            return []
        dataset = DetectionDataset(
            self.val_set, EvalTransform(self.preprocess), self._seed, white=self.preprocess.white
        )
        replica = self._replica()
        padded = -(-len(dataset) // replica["num_replicas"]) * replica["num_replicas"]
        indices = np.resize(np.arange(len(dataset)), padded)
        mine = indices[replica["rank"] :: replica["num_replicas"]].tolist()
        batches = BatchSampler(mine, self.batch_size, drop_last=False)
        return self._loader(dataset, batches, PackingCollate())

    def state_dict(self) -> dict[str, Any]:
        """Carry the position and the data's identity in checkpoints."""
        return {
            "position": list(self.position),
            "processes": self._replica()["num_replicas"],
            "draws": self.draws_per_epoch,
            "identity": self.identity(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at a checkpoint's image, whoever has drawn those before it."""
        self.position = Position(*state_dict["position"])
        self._images_seen = images_seen(state_dict)

    def _replica(self) -> dict[str, int]:
        if self.trainer is None:
            return {"num_replicas": 1, "rank": 0}
        return {"num_replicas": self.trainer.world_size, "rank": self.trainer.global_rank}

    @property
    def running_workers(self) -> list[BaseProcess]:
        """The processes that load batches, or did."""
        return [worker for loader in self._loaders for worker in loader.workers]

    def end_workers(self) -> None:
        """End them where they are; one that is stuck in a file would end no other way."""
        for worker in self.running_workers:
            worker.terminate()

    def _loader(
        self, dataset: DetectionDataset, batches: BatchSampler, collate_fn: PackingCollate
    ) -> BatchLoader:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        loader = BatchLoader(
            dataset,  # type: ignore[arg-type]  # collate_fn makes a Batch of its items
            batch_sampler=batches,
            num_workers=self.workers,
            worker_init_fn=leave_signals_to_the_run,
            collate_fn=collate_fn,
            pin_memory=self._dataset.pin_memory and on_gpu,
            persistent_workers=self.workers > 0,
            prefetch_factor=self.batches_ahead if self.workers else None,
        )
        self._loaders.append(loader)
        return loader


class EpochBatches(BatchSampler):
    """Batches of one epoch after the other; the first may begin in its middle.

    Its length is that of a whole epoch, which is what Lightning counts in.
    """

    sampler: DetectionSampler

    def __init__(
        self, dataset: DetectionDataset, sampler: DetectionSampler, batch_size: int
    ) -> None:
        super().__init__(sampler, batch_size, drop_last=False)
        self._dataset = dataset

    def start_at(self, epoch: int, images_seen: int) -> None:
        """Begin the next pass in this epoch, after what all processes have drawn of it.

        Where that does not divide by the processes, a few images come again.
        """
        self.sampler.set_epoch(epoch)
        state = self.sampler.state_dict(images_seen // self.sampler.num_replicas)
        self.sampler.load_state_dict(state)

    def __len__(self) -> int:
        return -(-self.sampler.draws_per_rank // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        self._dataset.set_epoch(self.sampler.epoch)
        yield from super().__iter__()


def _digest(detection_set: DetectionSet) -> str:
    """Hash file names and objects."""
    digest = hashlib.blake2b(digest_size=16)
    for record in detection_set.images:
        digest.update(record.file_name.encode("utf-8", "surrogatepass"))
        for column in (record.boxes_xywh, record.labels, record.is_crowd):
            digest.update(np.ascontiguousarray(column).tobytes())
        if record.is_region.any():
            digest.update(record.is_region.tobytes())
    return digest.hexdigest()
