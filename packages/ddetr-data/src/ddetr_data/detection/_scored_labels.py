"""Labels that a detector's answers are compared with, read by one contract."""

from __future__ import annotations

from collections.abc import Sequence

from ddetr_data.categories import compare_categories
from ddetr_data.coco import DetectionSet
from ddetr_data.config import DatasetConfig, DataSource
from ddetr_data.detection.detector import Detector
from ddetr_data.loading import LabelContract, open_sources


def open_scored(
    detector: Detector, sources: Sequence[DataSource], dataset: DatasetConfig
) -> tuple[DetectionSet, list[str]]:
    """Read labels, and give what is to be told of classes that the detector has otherwise.

    Raises:
        FileNotFoundError, ValueError: as open_sources; classes that conflict are refused.
    """
    labelled = open_sources(
        sources,
        num_classes=detector.num_classes,
        dataset_type=dataset.dataset_type,
        ignore_regions=dataset.ignore_regions,
        contract=LabelContract.of_scoring(dataset, tuple(detector.categories)),
    )
    difference = compare_categories(
        detector.categories,
        labelled.categories,
        first_name="the model",
        second_name="the data",
        second_may_lack=True,
    )
    return labelled, [difference] if difference else []
