"""Options of running a detector: the blocks `evaluate` and `inference`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from ddetr_data.config import DEFAULT_MAX_DETECTIONS, FrozenModel, Judge

Precision = Literal["fp32", "bf16", "fp16"]
Runtime = Literal["auto", "onnxruntime", "openvino"]
Score = Annotated[float, Field(ge=0, le=1)]


class DeviceConfig(FrozenModel):
    """Which GPUs a subtask uses; `ddetr_train.process` holds the rule that joins both keys."""

    model_config = ConfigDict(populate_by_name=True)

    num_gpus: int = Field(1, gt=0, description="Number of GPUs; the larger of both counts wins.")
    gpu_ids: tuple[int, ...] = Field(
        (0,), min_length=1, description="Indices of the GPUs, kept in the given order."
    )
    rendezvous_timeout_seconds: float = Field(
        600.0,
        gt=0,
        description="Seconds to wait at most for the other processes and machines of the run.",
    )

    @model_validator(mode="after")
    def _check_gpu_ids(self) -> DeviceConfig:
        if min(self.gpu_ids) < 0 or len(set(self.gpu_ids)) < len(self.gpu_ids):
            raise ValueError(f"gpu_ids must be different indices from 0, got {list(self.gpu_ids)}")
        return self


class _DetectorConfig(DeviceConfig):
    checkpoint: Path | None = Field(
        None,
        description="Checkpoint (.pth, .safetensors, a folder of transformers') or ONNX file.",
    )
    trt_engine: Path | None = Field(
        None, description="TensorRT engine to run instead of the checkpoint."
    )
    results_dir: Path | None = Field(None, description="Folder for the results.")
    batch_size: int | None = Field(
        None, gt=0, description="Images a batch; null takes dataset.batch_size."
    )
    input_width: int | None = Field(
        None, ge=32, description="Fixed width in pixels; null keeps the checkpoint's resizing."
    )
    input_height: int | None = Field(
        None, ge=32, description="Fixed height in pixels; null keeps the checkpoint's resizing."
    )

    precision: Precision = Field(
        "fp32",
        description="Precision of a checkpoint's network, and of OpenVINO; any other exported file "
        "has its own.",
    )
    runtime: Runtime = Field(
        "auto",
        description="What runs an ONNX file: onnxruntime, which auto is too, or openvino, on the "
        "CPU (extra openvino). Checkpoints and engines have theirs.",
    )
    compile: bool = Field(
        False,
        description="Let torch.compile rewrite a checkpoint's network for the machine; the first "
        "images of each size then take a minute or more.",
    )

    @property
    def detector_file(self) -> Path | None:
        """The engine if there is one, else the checkpoint."""
        return self.trt_engine or self.checkpoint

    @property
    def input_size_hw(self) -> tuple[int, int] | None:
        """The fixed height and width in pixels, if there is one."""
        if self.input_height is None or self.input_width is None:
            return None
        return self.input_height, self.input_width

    @model_validator(mode="after")
    def _check_size(self) -> _DetectorConfig:
        if (self.input_width is None) != (self.input_height is None):
            raise ValueError(
                "input_width and input_height must be given together, got "
                f"input_width={self.input_width} and input_height={self.input_height}"
            )
        return self


class EvaluateConfig(_DetectorConfig):
    """Options of scoring a checkpoint on labelled images (block `evaluate`)."""

    conf_threshold: Score | dict[str, Score] = Field(
        0.0,
        description="Detections below this score are left out of the scores. A block gives one for "
        "each class, by name or id, and as default for all others.",
    )
    judge: Judge = Field(
        "auto",
        description="Who computes the scores: pycocotools, faster (faster-coco-eval, which comes "
        "with ddetr-cli), or auto: the fast one where it is installed; all figures are the same.",
    )
    max_detections: int = Field(
        DEFAULT_MAX_DETECTIONS,
        gt=0,
        description="Detections of an image and class that are scored, also in train's validation "
        "and export; above 100 a detector keeps as many (model.num_select).",
    )


class InferenceConfig(_DetectorConfig):
    """Options of labelling images with a checkpoint (block `inference`)."""

    conf_threshold: Score | dict[str, Score] = Field(
        0.5,
        description="Detections below this score are not written. A block gives one for each "
        "class, by name or id, and as default for all others; report.html has the best.",
    )
    color_map: dict[str, str] = Field(
        default_factory=dict, description="Colour of a class in the annotated images, by name."
    )
    outline_width: int = Field(3, gt=0, description="Width of a drawn box's outline in pixels.")
    coco_json: bool = Field(
        False, description="Also write all detections to detections.json, as a COCO data set."
    )
    csv: bool = Field(False, description="Also write all detections to detections.csv.")
    is_internal: bool = Field(
        False, description="Name a result <folder of the image>/<file> wherever the search began."
    )
