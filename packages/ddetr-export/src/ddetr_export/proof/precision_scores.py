"""The AP of the file and of PyTorch on the same labelled images: what a number format costs.

B images, H, W the file's input size.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan

from ddetr_data import DEFAULT_MAX_DETECTIONS, Detections, ImageLike
from ddetr_data.coco import DetectionSet
from ddetr_data.detection import Detector, add_detections
from ddetr_data.images import PreprocessConfig, image_batches
from ddetr_data.scoring import CocoScorer
from ddetr_export.onnx import filled_up
from ddetr_export.postprocessing import select_detections
from ddetr_export.preprocessing import stacked
from ddetr_export.proof.comparison import Forward

_FIGURES = ("AP", "AP50", "AP75")


@dataclass(frozen=True)
class Score:
    """COCO figures of one network, 0 to 1; None where the images have no object to find."""

    network: str  # "PyTorch", or the file's precision
    images: int
    AP: float | None
    AP50: float | None
    AP75: float | None


class ForwardDetector(Detector):
    """Any network behind the file's preprocessing and post-processing."""

    def __init__(
        self,
        forward: Forward,
        config: PreprocessConfig,
        num_select: int,
        batch_size: int,
        class_ids: Collection[int] = (),
    ) -> None:
        """Wrap a network whose every run has batch_size images, filled up with zeros."""
        self.batch_size = batch_size
        self.categories = ()
        self._forward, self._config = forward, config
        self._num_select, self._class_ids = num_select, class_ids

    def predict(self, images: Sequence[ImageLike]) -> list[Detections]:
        """Detect in each image; as many results as images, in their order."""
        results: list[Detections] = []
        for batch in image_batches(images, self.batch_size):
            pixels, sizes_hw = stacked(batch, self._config)
            outputs = self._forward(filled_up(pixels, self.batch_size))
            logits, boxes = (each[: len(batch)] for each in outputs)
            selection = (self._num_select, self._class_ids)
            results += select_detections(logits, boxes, sizes_hw, *selection)
        return results


def score_networks(
    networks: Mapping[str, Detector],
    labelled: DetectionSet,
    most_images: int,
    *,
    category_ids: Sequence[int] | None = None,
    max_detections: int = DEFAULT_MAX_DETECTIONS,
    on_progress: Callable[[str], None],
) -> tuple[Score, ...]:
    """Score each network on the first images of a labelled set.

    Args:
        networks: By the name that their score bears.
        labelled: Images whose category ids are the networks' class indices.
        most_images: How many of them to use.
        category_ids: Classes that count; None is all.
        max_detections: That count, of an image and class.
        on_progress: Called with a few words before each network.
    """
    part = replace(labelled, images=labelled.images[:most_images])
    scores = []
    for name, detector in networks.items():
        on_progress(f"scoring {name} on {len(part.images)} images")
        scorer = CocoScorer(part, category_ids=category_ids, max_detections=max_detections)
        add_detections(scorer, detector, part.images)
        overall = scorer.score().overall
        figures = {key: None if isnan(overall[key]) else float(overall[key]) for key in _FIGURES}
        scores.append(Score(network=name, images=len(part.images), **figures))
    return tuple(scores)
