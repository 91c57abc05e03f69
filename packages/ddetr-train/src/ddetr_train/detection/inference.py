"""Label images and videos with a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ddetr_data import DatasetConfig
from ddetr_data.detection import (
    InferenceConfig,
    InferenceSummary,
    Observer,
    RunEvent,
    counted,
    emit,
    find_media,
    label_media,
    named_by_classmap,
)
from ddetr_train.detection.frame_progress import FrameProgress
from ddetr_train.detection.torch_detector import TorchDetector, build_detector, report_progress
from ddetr_train.process import is_first_process, launched_share

__all__ = ["TorchDetector", "infer"]


def infer(
    checkpoint: Path,
    dataset: DatasetConfig,
    config: InferenceConfig,
    results_dir: Path,
    *,
    observers: Sequence[Observer] = (),
    encryption_key: str | None = None,
) -> InferenceSummary:
    """Write KITTI labels, annotated images and videos for dataset.infer_data_sources.

    Processes that torchrun or srun has started share the files; the summary is of all of them.

    Raises:
        FileNotFoundError: the checkpoint or an image folder is not there.
        ValueError: no image source, an unreadable checkpoint, or a colour that is none.
    """
    source = dataset.infer_data_sources
    if source is None:
        raise ValueError("inference needs dataset.infer_data_sources.image_dir")
    observers = observers if is_first_process() else ()
    images, videos = find_media(source.image_dir, by_own_folder=config.is_internal)
    detector = build_detector(checkpoint, dataset, config, observers, encryption_key)
    known = detector.categories
    detector.categories = named_by_classmap(source.classmap, known, "the checkpoint")
    there = [
        counted(len(each), noun) for each, noun in ((images, "image"), (videos, "video")) if each
    ]
    text = f"labelling {', '.join(there)}"
    emit(observers, RunEvent("started", text, total_steps=len(images)))
    progress = partial(report_progress, observers)
    options = config.label_options
    with launched_share() as share:
        summary = label_media(
            detector,
            images,
            videos,
            results_dir,
            options,
            progress,
            share,
            FrameProgress(observers),
        )
    text = f"{summary.detections} detections in {summary.extent}"
    figures = {"images": float(summary.images), "detections": float(summary.detections)}
    if summary.videos:
        figures |= {"videos": float(summary.videos), "frames": float(summary.frames)}
    emit(observers, RunEvent("finished", text, metrics=figures))
    return summary
