"""Label images with a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ddetr_data.classmap_names import named_by_classmap
from ddetr_data.config import DatasetConfig
from ddetr_data.inference import InferenceSummary, find_images, run_inference
from ddetr_train.config import InferenceConfig
from ddetr_train.detector import TorchDetector, build_detector, report_progress
from ddetr_train.events import Observer, RunEvent, emit

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
    """Write KITTI labels and annotated images for dataset.infer_data_sources.

    Raises:
        FileNotFoundError: the checkpoint or an image folder is not there.
        ValueError: no image source, an unreadable checkpoint, or a colour that is none.
    """
    source = dataset.infer_data_sources
    if source is None:
        raise ValueError("inference needs dataset.infer_data_sources.image_dir")
    images = find_images(source.image_dir)
    if config.is_internal:
        images = [(path, Path(path.parent.name, path.name)) for path, _ in images]
    detector = build_detector(checkpoint, dataset, config, observers, encryption_key)
    known = detector.categories
    detector.categories = named_by_classmap(source.classmap, known, "the checkpoint")
    emit(observers, RunEvent("started", f"labelling {len(images)} images", total_steps=len(images)))
    summary = run_inference(
        detector,
        images,
        results_dir,
        conf_threshold=config.conf_threshold,
        color_map=config.color_map,
        outline_width=config.outline_width,
        on_progress=partial(report_progress, observers),
    )
    text = f"{summary.detections} detections in {summary.images} images"
    figures = {"images": float(summary.images), "detections": float(summary.detections)}
    emit(observers, RunEvent("finished", text, metrics=figures))
    return summary
