"""The spec blocks `export` and `gen_trt_engine`: keys, defaults, ranges and meanings."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ddetr_data import DEFAULT_MAX_DETECTIONS
from ddetr_export.layer_rules import layer_rules

OLDEST_GRID_SAMPLE_OPSET = 16
OLDEST_PER_CHANNEL_OPSET = 13
_NEWEST_INT8_OPSET = 20

Precision = Literal["fp32", "fp16", "int8_qdq"]
Sampling = Literal["auto", "grid", "gather"]
DataType = Literal["FP32", "FP16", "INT8", "BF16"]


class _Block(BaseModel):
    """The base of every block: values never change, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ExportConfig(_Block):
    """The block `export`."""

    checkpoint: str | None = Field(
        None, description="Checkpoint to export (.pth, .safetensors, a folder of transformers')."
    )
    onnx_file: str | None = Field(None, description="The ONNX file to write.")
    results_dir: str | None = Field(None, description="Folder of the run's status and spec.")
    on_cpu: bool = Field(
        True, description="True: standard ONNX operators; false: TensorRT plugin nodes."
    )
    opset_version: int = Field(12, ge=11, le=23, description="ONNX opset of the file.")
    input_channel: Literal[3] = Field(3, description="Channels of the input; only 3.")
    input_width: int = Field(960, ge=32, description="Width of the input in pixels.")
    input_height: int = Field(544, ge=32, description="Height of the input in pixels.")
    batch_size: int = Field(-1, ge=-1, description="Images a run; -1 leaves the batch dynamic.")
    gpu_id: int = Field(0, ge=0, description="Accepted; the export itself runs on the CPU.")
    verbose: bool = Field(False, description="Log the exporter's own messages.")
    format: Literal["onnx"] = Field("onnx", description="File format; only onnx.")
    serialize_nvdsinfer: bool = Field(
        False, description="Also write the files that DeepStream and Triton read."
    )
    overwrite: bool = Field(False, description="Replace an existing onnx_file.")
    sampling: Sampling = Field(
        "auto",
        description="How standard operators sample: GridSample (opset 16 and newer), gathers, "
        "or auto: GridSample where the opset has it.",
    )
    plugin_version: Literal["1", "2"] = Field(
        "1", description="TensorRT plugin to name: 1 for TensorRT 8 to 11, 2 from 10.11 on."
    )
    embed_fallback: bool = Field(
        True,
        description="Put the standard-operator body of the plugin into the file, so that ONNX "
        "Runtime runs it too; switch off for TensorRT 9.0 to 10.6, which prefer the body.",
    )
    postprocess: bool = Field(
        False, description="Put post-processing in the graph: outputs boxes, scores, labels."
    )
    num_select: int | None = Field(
        None, gt=0, description="Detections an image kept by post-processing; null: the model's."
    )
    precision: Precision = Field("fp32", description="Number format of weights and activations.")
    calibration_image_dir: str | None = Field(
        None, description="Folder of images that int8_qdq measures its ranges on."
    )
    calibration_images: int = Field(32, gt=0, description="Most images used for calibration.")
    check_image_dir: str | None = Field(
        None, description="Folder of images for the comparison; null generates them."
    )
    check_images: int = Field(3, ge=2, description="Images in the comparison with PyTorch.")
    check_openvino: bool = Field(
        False,
        description="Compare the file with PyTorch in OpenVINO too (extra openvino); needs on_cpu.",
    )
    score_images: int = Field(
        50,
        ge=0,
        description="Most labelled images of dataset.val_data_sources (or test) that AP of the "
        "file and of PyTorch is measured on; 0: none.",
    )

    max_detections: int = Field(
        DEFAULT_MAX_DETECTIONS,
        gt=0,
        description="Detections of an image and class that this AP counts; in a spec "
        "evaluate.max_detections.",
    )

    @field_validator("batch_size")
    @classmethod
    def _batch_is_dynamic_or_positive(cls, batch_size: int) -> int:
        if batch_size == 0:
            raise ValueError("batch_size must be -1 (dynamic) or at least 1, got 0")
        return batch_size

    @model_validator(mode="after")
    def _openvino_has_no_plugin(self) -> ExportConfig:
        if self.check_openvino and not self.on_cpu:
            raise ValueError("check_openvino needs on_cpu=true: OpenVINO runs no TensorRT plugin")
        return self

    @model_validator(mode="after")
    def _opset_has_what_is_asked(self) -> ExportConfig:
        if self.sampling == "grid" and self.opset_version < OLDEST_GRID_SAMPLE_OPSET:
            raise ValueError(
                f"sampling grid needs opset_version >= {OLDEST_GRID_SAMPLE_OPSET}, "
                f"got {self.opset_version}; use sampling gather"
            )
        if self.precision == "int8_qdq":
            if not OLDEST_PER_CHANNEL_OPSET <= self.opset_version <= _NEWEST_INT8_OPSET:
                raise ValueError(
                    f"precision int8_qdq needs opset_version >= {OLDEST_PER_CHANNEL_OPSET} "
                    f"(per-channel scales) and <= {_NEWEST_INT8_OPSET} (ONNX Runtime does not load "
                    f"8-bit files of newer ones), got {self.opset_version}"
                )
            if self.calibration_image_dir is None:
                raise ValueError(
                    "precision int8_qdq needs calibration_image_dir, a folder of typical images"
                )
        return self


class CalibrationConfig(_Block):
    """The block `gen_trt_engine.tensorrt.calibration`, read for data_type INT8."""

    cal_image_dir: tuple[str, ...] = Field((), description="Folders of calibration images.")
    cal_cache_file: str | None = Field(None, description="File that keeps the ranges found.")
    cal_batch_size: int = Field(1, gt=0, description="Images a calibration step.")
    cal_batches: int = Field(1, gt=0, description="Calibration steps.")

    @field_validator("cal_image_dir", mode="before")
    @classmethod
    def _one_folder_is_a_list_of_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else () if value is None else value


class TensorRTConfig(_Block):
    """The block `gen_trt_engine.tensorrt`."""

    data_type: DataType = Field("FP32", description="Number format of the engine, any case.")
    workspace_size: int = Field(1024, gt=0, description="Scratch memory in MiB.")
    min_batch_size: int = Field(1, gt=0, description="Smallest batch of the engine.")
    opt_batch_size: int = Field(1, gt=0, description="Batch that the engine is tuned for.")
    max_batch_size: int = Field(1, gt=0, description="Largest batch of the engine.")
    layers_precision: tuple[str, ...] = Field(
        (), description="Exceptions as 'layer:type'; a layer may end in *."
    )
    calibration: CalibrationConfig = Field(
        default_factory=CalibrationConfig, description="Images and cache for INT8."
    )

    @field_validator("data_type", mode="before")
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("layers_precision", mode="before")
    @classmethod
    def _null_is_none(cls, value: Any) -> Any:
        return () if value is None else value

    @field_validator("layers_precision")
    @classmethod
    def _rules_are_rules(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        layer_rules(value)
        return value

    @model_validator(mode="after")
    def _batches_are_ordered(self) -> TensorRTConfig:
        if not self.min_batch_size <= self.opt_batch_size <= self.max_batch_size:
            raise ValueError(
                "batch sizes must be ordered min_batch_size <= opt_batch_size <= max_batch_size, "
                f"got {self.min_batch_size}, {self.opt_batch_size}, {self.max_batch_size}"
            )
        return self


class TrtEngineConfig(_Block):
    """The block `gen_trt_engine`."""

    onnx_file: str | None = Field(None, description="ONNX file to build from.")
    trt_engine: str | None = Field(None, description="Engine file to write.")
    results_dir: str | None = Field(None, description="Folder of the run's status and spec.")
    gpu_id: int = Field(0, ge=0, description="GPU that builds the engine.")
    timing_cache: str | None = Field(None, description="File that keeps kernel timings.")
    verbose: bool = Field(False, description="Log the builder's own messages.")
    batch_size: int = Field(
        -1, ge=-1, description="Batch of an ONNX file with a fixed one; checked against it."
    )
    input_channel: Literal[3] = Field(3, description="Channels of the input; only 3.")
    input_width: int = Field(960, ge=32, description="Accepted; the ONNX file decides.")
    input_height: int = Field(544, ge=32, description="Accepted; the ONNX file decides.")
    tensorrt: TensorRTConfig = Field(
        default_factory=TensorRTConfig, description="Precision, batches, memory, calibration."
    )
