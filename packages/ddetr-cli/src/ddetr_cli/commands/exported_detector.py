"""Scoring and labelling with an ONNX file or an engine, as with a checkpoint, without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddetr_cli.running import Run
from ddetr_cli.spec import SpecError
from ddetr_cli.terminal import Progress
from ddetr_data import Category, DatasetConfig, Detections, ImageLike, InferSource
from ddetr_data.detection import (
    ALONE,
    EvaluateConfig,
    InferenceConfig,
    InferenceSummary,
    Share,
    evaluate_detector,
    find_media,
    label_media,
    named_by_classmap,
    write_results,
)
from ddetr_data.loading import open_sources
from ddetr_data.scoring import Scores, score_sources
from ddetr_export import Detector
from ddetr_train.detection import FrameProgress
from ddetr_train.process import is_launched


@dataclass
class NamedDetector:
    """A detector whose classes bear the names of a classmap."""

    detector: Detector
    categories: tuple[Category, ...]
    batch_size: int

    def predict(self, images: Sequence[ImageLike]) -> list[Detections]:
        """Detect as the detector does; labels are ids, so names do not matter."""
        return self.detector.predict(images)


def score_exported(
    path: Path, dataset: DatasetConfig, config: EvaluateConfig, run: Run, passphrase: str | None
) -> Scores:
    """Write results.json and detections.json for the test data, and give the scores."""
    detector = open_detector(path, config, run, passphrase)
    num_classes = detector.metadata.model.get("num_classes")
    test_set = open_sources(
        dataset.test_data_sources, num_classes=num_classes, dataset_type=dataset.dataset_type
    )
    with _launched_share() as share:
        scores, detections = evaluate_detector(
            detector,
            test_set,
            conf_threshold=config.conf_threshold,
            on_progress=Progress(run.report, "images"),
            category_ids=dataset.eval_class_ids,
            share=share,
        )
    if not share.is_first:
        return scores
    extra: dict[str, Any] = {
        "checkpoint": str(path),
        "images": len(test_set.images),
        "conf_threshold": config.conf_threshold,
    }
    if len(dataset.test_data_sources) > 1:
        extra["per_source"] = score_sources(
            test_set,
            dataset.test_data_sources,
            detections,
            category_ids=dataset.eval_class_ids,
        )
    write_results(run.results_dir, scores, detections, extra)
    return scores


def label_with_exported(
    path: Path, source: InferSource, config: InferenceConfig, run: Run, passphrase: str | None
) -> InferenceSummary:
    """Write KITTI labels and annotated images."""
    images, videos = find_media(source.image_dir, by_own_folder=config.is_internal)
    detector = open_detector(path, config, run, passphrase)
    categories = named_by_classmap(source.classmap, detector.categories, str(path))
    named = NamedDetector(detector, categories, detector.batch_size)
    progress = Progress(run.report, "images")
    with _launched_share() as share:
        return label_media(
            named,
            images,
            videos,
            run.results_dir,
            config.label_options,
            progress,
            share,
            FrameProgress(run.observers),
        )


def open_detector(
    path: Path, config: EvaluateConfig | InferenceConfig, run: Run, passphrase: str | None
) -> Detector:
    """Open the file with the block's batch size and tell what runs it; its input size is its own.

    Raises:
        ValueError: the block asks for another input size or batch than the file has.
    """
    detector = Detector(path, passphrase, batch_size=config.batch_size)
    wanted = (config.input_height, config.input_width)
    fixed = (detector.preprocess_config.height, detector.preprocess_config.width)
    if None not in wanted and wanted != fixed:
        raise SpecError(
            f"{path} was exported for input_height {fixed[0]} and input_width {fixed[1]}, "
            f"got {wanted[0]} and {wanted[1]}"
        )
    run.console.say(f"{path.name} runs on {', '.join(detector.providers)}")
    return detector


def _launched_share() -> AbstractContextManager[Share]:
    if not is_launched():  # nothing is shared, and PyTorch need not be there
        return nullcontext(ALONE)
    from ddetr_train.process import launched_share

    return launched_share()
