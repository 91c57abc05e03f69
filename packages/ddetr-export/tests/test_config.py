"""The spec blocks of this package."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ddetr_export.config import ExportConfig, TrtEngineConfig


def test_defaults_are_those_of_the_documentation() -> None:
    """An empty block is the documented export and engine."""
    export = ExportConfig()
    assert (export.on_cpu, export.opset_version, export.batch_size) == (True, 12, -1)
    assert (export.input_width, export.input_height, export.input_channel) == (960, 544, 3)
    engine = TrtEngineConfig().tensorrt
    assert (engine.data_type, engine.workspace_size, engine.max_batch_size) == ("FP32", 1024, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"opset_version": 0}, "greater than or equal to 11"),
        ({"opset_version": 24}, "less than or equal to 23"),
        ({"input_channel": 1}, "Input should be 3"),
        ({"batch_size": 0}, "-1 .dynamic. or at least 1"),
        ({"sampling": "grid"}, "sampling grid needs opset_version >= 16"),
        ({"precision": "int8_qdq"}, "needs opset_version >= 13"),
        ({"precision": "int8_qdq", "opset_version": 21}, "and <= 20 .ONNX Runtime does not load"),
        ({"precision": "int8_qdq", "opset_version": 13}, "needs calibration_image_dir"),
        ({"onnx_fil": "x"}, "Extra inputs are not permitted"),
    ],
)
def test_a_bad_export_is_refused(settings, message) -> None:
    """Each wrong value or combination is named before any work."""
    with pytest.raises(ValidationError, match=message):
        ExportConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data_type": "fp8"}, "Input should be 'FP32', 'FP16', 'INT8' or 'BF16'"),
        ({"workspace_size": 0}, "greater than 0"),
        ({"min_batch_size": 4, "opt_batch_size": 2, "max_batch_size": 8}, "must be ordered"),
    ],
)
def test_a_bad_engine_is_refused(settings, message) -> None:
    """Each wrong value or combination is named before any work."""
    with pytest.raises(ValidationError, match=message):
        TrtEngineConfig(tensorrt=settings)


def test_one_folder_and_any_case_are_accepted() -> None:
    """A data type in small letters, and a folder that is not in a list."""
    config = TrtEngineConfig(
        tensorrt={"data_type": "int8", "calibration": {"cal_image_dir": "/images"}}
    )
    assert config.tensorrt.data_type == "INT8"
    assert config.tensorrt.calibration.cal_image_dir == ("/images",)
