"""The options of running a detector: defaults, ranges, rules between fields, and their import."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import BaseModel, ValidationError

from ddetr_data.detection import DeviceConfig, EvaluateConfig, InferenceConfig

BAD = [
    (DeviceConfig, {"gpu_ids": [1, 1]}, "gpu_ids"),
    (EvaluateConfig, {"conf_threshold": 1.5}, "conf_threshold"),
    (EvaluateConfig, {"input_width": 640}, "input_height"),
    (EvaluateConfig, {"batch_size": 0}, "batch_size"),
    (InferenceConfig, {"outline_width": 0}, "outline_width"),
    (InferenceConfig, {"conf_threshold": float("nan")}, "conf_threshold"),
]


@pytest.mark.parametrize(("model", "values", "named"), BAD, ids=lambda value: str(value)[:40])
def test_a_bad_value_is_refused_by_name(model: type[BaseModel], values, named: str) -> None:
    """A value out of range and a broken rule between two fields name the field."""
    with pytest.raises(ValidationError, match=named):
        model.model_validate(values)


def test_the_defaults_are_those_of_the_page() -> None:
    """Everything is scored, and what is likely is drawn."""
    assert (EvaluateConfig().conf_threshold, InferenceConfig().conf_threshold) == (0.0, 0.5)
    assert (EvaluateConfig().num_gpus, EvaluateConfig().gpu_ids) == (1, (0,))


@pytest.mark.parametrize("model", [DeviceConfig, EvaluateConfig, InferenceConfig])
def test_every_option_is_described(model: type[BaseModel]) -> None:
    """No field of a block is without a sentence."""
    assert all(value.description for value in model.model_fields.values())


def test_options_and_events_cost_no_heavy_import() -> None:
    """A wrong spec is answered, and an observer made, before NumPy and its followers are loaded."""
    code = (
        "import sys; from ddetr_data.detection import EvaluateConfig, Observer, RunEvent, emit; "
        "print({'numpy', 'PIL', 'pycocotools', 'torch'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
