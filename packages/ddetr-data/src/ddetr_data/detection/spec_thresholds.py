"""The least scores that the blocks `evaluate` and `inference` give, by ids of classes."""

from __future__ import annotations

from collections.abc import Sequence

from ddetr_data.detection.config import EvaluateConfig, InferenceConfig
from ddetr_data.named_thresholds import class_thresholds
from ddetr_data.thresholds import Threshold
from ddetr_data.types import Category


def threshold_for(
    config: EvaluateConfig | InferenceConfig, categories: Sequence[Category]
) -> Threshold:
    """Give a block's conf_threshold by the ids of a detector's classes.

    Raises:
        ValueError: it names a class that is not there.
    """
    usual: float = type(config).model_fields["conf_threshold"].default
    block = "evaluate" if isinstance(config, EvaluateConfig) else "inference"
    key = f"{block}.conf_threshold"
    return class_thresholds(config.conf_threshold, categories, usual, key)
