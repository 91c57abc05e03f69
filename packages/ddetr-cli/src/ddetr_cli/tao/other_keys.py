"""Keys of TAO's specs that are not ours: renamed here, or without effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ANY_TASK = ""


@dataclass(frozen=True)
class OtherKey:
    """A key, or a whole block, of which `becomes` names the key here, or `reason` says why not."""

    key: str
    versions: str
    source: str  # a key of SOURCES
    becomes: Mapping[str, str] = field(default_factory=dict)  # subtask, or ANY_TASK -> key
    reason: str = ""
    told: str = ""  # of a name that means something else elsewhere: what to write for that


OTHER_KEYS: tuple[OtherKey, ...] = (
    OtherKey(
        "model.pretrained_model_path",
        "5.5 (its page)",
        "page 5.5",
        {ANY_TASK: "model.pretrained_backbone_path"},
        told="whole-model weights go to train.pretrained_model_path",
    ),
    OtherKey(
        "train.optim.monitor_name",
        "5.0.0 to 6.26.3",
        "5.0 keys",
        {ANY_TASK: "train.optim.lr_monitor"},
    ),
    OtherKey("output_dir", "3.x and 4.x", "page 3", {ANY_TASK: "results_dir"}),
    OtherKey(
        "output_file",
        "4.x",
        "page 4",
        {ANY_TASK: "export.onnx_file", "gen_trt_engine": "gen_trt_engine.onnx_file"},
    ),
    OtherKey(
        "trt_engine",
        "4.x",
        "page 4",
        {
            ANY_TASK: "gen_trt_engine.trt_engine",
            "evaluate": "evaluate.trt_engine",
            "inference": "inference.trt_engine",
        },
    ),
    OtherKey("trt_config", "4.x", "page 4", {ANY_TASK: "gen_trt_engine.tensorrt"}),
    OtherKey("model_name", "6.25.9 to 6.26.3", "6.25.9 keys", reason="there is one network"),
    OtherKey(
        "wandb",
        "5.5 to 6.26.3",
        "5.5 keys",
        reason="train.loggers=[wandb] logs to Weights & Biases",
    ),
    OtherKey(
        "quantize",
        "6.26.3, 7.0.1",
        "6.26.3 keys",
        reason="export.precision=int8_qdq and gen_trt_engine write INT8",
    ),
    OtherKey(
        "model.dld_model_dir_path",
        "6.26.3",
        "6.26.3 keys",
        reason="an edited model of that tool is not read",
    ),
    OtherKey(
        "model.precise_msda",
        "7.0.1",
        "page 7",
        reason="sampling locations and sums of the attention are float32 in any precision",
    ),
    OtherKey(
        "dataset.quant_calibration_data_sources",
        "6.26.3",
        "6.26.3 keys",
        reason="export.calibration_image_dir names the images",
    ),
    OtherKey(
        "dataset.augmentation.pad_size_divisor",
        "none that was read",
        "6.26.3 keys",
        reason="padding never changes a detection",
    ),
    OtherKey(
        "train.cudnn",
        "5.5 to 6.26.3",
        "5.5 keys",
        reason="train.deterministic asks for deterministic algorithms",
    ),
    OtherKey(
        "train.checkpoint_interval_unit",
        "6.25.11 to 6.26.3",
        "6.25.11 keys",
        reason="epochs; train.checkpoint_interval_steps counts steps",
    ),
    OtherKey(
        "train.checkpointer",
        "none that was read",
        "6.26.3 keys",
        reason="dd_model_best.pth is kept in any case",
    ),
    OtherKey(
        "train.input_width",
        "6.26.3",
        "6.26.3 keys",
        reason="dataset.augmentation sizes the images of a training",
    ),
    OtherKey(
        "train.input_height",
        "6.26.3",
        "6.26.3 keys",
        reason="dataset.augmentation sizes the images of a training",
    ),
    OtherKey("evaluate.num_nodes", "5.5 to 6.26.3", "5.5 keys", reason="one machine scores"),
    OtherKey("inference.num_nodes", "5.5 to 6.26.3", "5.5 keys", reason="one machine labels"),
    OtherKey(
        "gen_trt_engine.opset_version",
        "5.0.0 to 5.5",
        "5.0 keys",
        reason="the ONNX file has its opset",
    ),
)


def key_named_here(other: OtherKey, task: str | None) -> str | None:
    """Name the key here, as the subtask means it; None for one without effect."""
    return other.becomes.get(task or ANY_TASK, other.becomes.get(ANY_TASK))
