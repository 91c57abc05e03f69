"""Scoring and labelling with an ONNX file: the files that a checkpoint gives, without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ddetr_cli.progress import Progress
from ddetr_cli.run import Run
from ddetr_cli.spec_tree import SpecError
from ddetr_data.class_mapping import number_categories, read_classmap
from ddetr_data.coco import load_sources
from ddetr_data.config import DatasetConfig, InferSource
from ddetr_data.evaluation import evaluate_detector, write_results
from ddetr_data.inference import InferenceSummary, find_images, run_inference
from ddetr_data.scoring import Scores
from ddetr_data.types import Category, Detections, ImageLike
from ddetr_export import Detector
from ddetr_train.config import EvaluateConfig, InferenceConfig


@dataclass
class NamedDetector:
    """A detector whose classes bear the names of a classmap."""

    detector: Detector
    categories: tuple[Category, ...]
    batch_size: int

    def predict(self, images: Sequence[ImageLike]) -> list[Detections]:
        """Detect as the detector does; labels are ids, so names do not matter."""
        return self.detector.predict(images)


def score_onnx(path: Path, dataset: DatasetConfig, config: EvaluateConfig, run: Run) -> Scores:
    """Write results.json and detections.json for the test data, and give the scores."""
    detector = open_onnx(path, config)
    num_classes = detector.metadata.model.get("num_classes")
    test_set = load_sources(dataset.test_data_sources, num_classes=num_classes)
    scores, detections = evaluate_detector(
        detector,
        test_set,
        conf_threshold=config.conf_threshold,
        on_progress=Progress(run.report, "images"),
        category_ids=dataset.eval_class_ids,
    )
    extra = {
        "checkpoint": str(path),
        "images": len(test_set.images),
        "conf_threshold": config.conf_threshold,
    }
    write_results(run.results_dir, scores, detections, extra)
    return scores


def label_with_onnx(
    path: Path, source: InferSource, config: InferenceConfig, run: Run
) -> InferenceSummary:
    """Write KITTI labels and annotated images."""
    images = find_images(source.image_dir)
    if config.is_internal:
        images = [(image, Path(image.parent.name, image.name)) for image, _ in images]
    detector = open_onnx(path, config)
    return run_inference(
        NamedDetector(detector, _names(detector, source.classmap), detector.batch_size),
        images,
        run.results_dir,
        conf_threshold=config.conf_threshold,
        color_map=config.color_map,
        outline_width=config.outline_width,
        on_progress=Progress(run.report, "images"),
    )


def open_onnx(path: Path, config: EvaluateConfig | InferenceConfig) -> Detector:
    """Open an ONNX file with the block's batch size; its input size is its own.

    Raises:
        ValueError: the block asks for another input size or batch than the file has.
    """
    detector = Detector(path, batch_size=config.batch_size)
    wanted = (config.input_height, config.input_width)
    fixed = (detector.preprocess_config.height, detector.preprocess_config.width)
    if None not in wanted and wanted != fixed:
        raise SpecError(
            f"{path} was exported for input_height {fixed[0]} and input_width {fixed[1]}, "
            f"got {wanted[0]} and {wanted[1]}"
        )
    return detector


def _names(detector: Detector, classmap: str | None) -> tuple[Category, ...]:
    """Take the classmap's names in the order of the file's ids; without one, the file's names."""
    known = detector.categories
    if classmap is None:
        return known
    names = read_classmap(classmap)
    if known and len(known) != len(names):
        raise SpecError(f"{classmap} names {len(names)} classes, {detector.path} has {len(known)}")
    ids = known or number_categories(names)
    return tuple(Category(each.id, name) for each, name in zip(ids, names, strict=True))
