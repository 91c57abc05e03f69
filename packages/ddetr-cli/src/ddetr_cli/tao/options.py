"""Options and subtasks of TAO's command lines, and what each of them is here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

_NETWORK = "deformable_detr"
_ALL = ("convert", "train", "evaluate", "inference", "export", "gen_trt_engine")
_WITH_GPUS = ("train", "evaluate", "inference")


@dataclass(frozen=True)
class Option:
    """An option in front of `key=value` words.

    Where a subtask has no key for it, it is left out with a notice, or refused where `instead`
    says what to write.
    """

    names: tuple[str, ...]
    versions: str
    source: str  # a key of SOURCES
    takes: Literal["value", "numbers", "flag", "key", "network"]
    sets: Mapping[str, str] = field(default_factory=dict)  # subtask -> `key=`, or `key=value`
    instead: str = ""


OPTIONS: tuple[Option, ...] = (
    Option(
        ("-r", "--results_dir"),
        "5.0 to 5.3, deploy 5.0 to 5.3",
        "5.0",
        "value",
        dict.fromkeys(_ALL, "results_dir="),
    ),
    Option(("-k", "--key"), "5.0 to 5.3, deploy 5.0 to 5.3", "5.0", "key"),
    Option(
        ("-g", "--gpus"),
        "5.0 to 5.3",
        "5.0",
        "value",
        {task: f"{task}.num_gpus=" for task in _WITH_GPUS},
    ),
    Option(
        ("--num_gpus",),
        "the key num_gpus as an option",
        "5.5 keys",
        "value",
        {task: f"{task}.num_gpus=" for task in _WITH_GPUS},
    ),
    Option(("--num_nodes",), "5.0 to 5.3", "5.0", "value", {"train": "train.num_nodes="}),
    Option(
        ("--gpu_index", "--gpu_ids"),
        "deploy 5.0 to 5.3; TensorFlow networks",
        "deploy 5",
        "numbers",
        {
            **{task: f"{task}.gpu_ids=" for task in _WITH_GPUS},
            **{task: f"{task}.gpu_id=" for task in ("export", "gen_trt_engine")},
        },
    ),
    Option(
        ("-t", "--threshold"),
        "deploy 5.0 to 5.3",
        "deploy 5",
        "value",
        {task: f"{task}.conf_threshold=" for task in ("evaluate", "inference")},
    ),
    Option(
        ("--use_amp",),
        "TensorFlow networks",
        "tensorflow",
        "flag",
        {"train": "train.precision=fp16"},
    ),
    Option(
        ("--log_file",),
        "TensorFlow networks, deploy 5.0 to 6.x",
        "deploy proto",
        "value",
        instead="the log of a run is run.log in its results folder; write > FILE 2>&1 for the rest",
    ),
    Option(
        ("-np", "--num_processes"),
        "TensorFlow networks",
        "tensorflow",
        "value",
        instead="every GPU has its process; write --gpus N, or train.num_gpus=N",
    ),
    Option(
        ("--multi-node", "--multi_node"),
        "TensorFlow networks",
        "tensorflow",
        "flag",
        instead="write train.num_nodes=N, and start it on each node by torchrun, SLURM, or with "
        "MASTER_ADDR and NODE_RANK",
    ),
    Option(
        ("--mpirun-arg",),
        "TensorFlow networks",
        "tensorflow",
        "value",
        instead="nothing here runs by mpirun; write train.num_gpus=N and train.num_nodes=N",
    ),
    Option(
        ("--launch_cuda_blocking",),
        "TensorFlow networks",
        "tensorflow",
        "flag",
        instead="set the environment variable CUDA_LAUNCH_BLOCKING=1",
    ),
    Option(
        ("--resume_model_weights",),
        "other networks of 5.x",
        "5.3",
        "value",
        instead="write train.pretrained_model_path=FILE for weights to start from, or "
        "train.resume_training_checkpoint_path=FILE for a training to go on with",
    ),
    Option(
        ("-o", "--output_specs_dir"),
        "other networks of 5.x",
        "5.3",
        "value",
        instead="a spec needs only what differs from the defaults; `ddetr spec` writes them all",
    ),
    Option(("-m", "--model_name"), "deploy 6.25.11", "deploy 6 any", "network"),
)


@dataclass(frozen=True)
class OtherSubtask:
    """A subtask that is none here, and what to write, or which one of ours it is read as."""

    name: str
    versions: str
    source: str  # a key of SOURCES
    instead: str
    read_as: str = ""  # what stands for it; else it is refused


_TEMPLATE = (
    "write `ddetr spec > SPEC.YAML` for a template with every key; `ddetr migrate -e SPEC.YAML` "
    "reads a spec that you have"
)
SUBTASKS: tuple[OtherSubtask, ...] = (
    OtherSubtask(
        "quantize",
        "7.0.1",
        "page 7",
        "write `ddetr export -e SPEC.YAML export.precision=int8_qdq "
        "export.calibration_image_dir=FOLDER`, which writes an 8-bit ONNX file",
    ),
    OtherSubtask(
        "default_specs",
        "deploy 6.25.11",
        "deploy 6",
        "read as `ddetr spec`; `results_dir=FOLDER` writes FOLDER/experiment.yaml",
        read_as="spec",
    ),
    OtherSubtask("download_specs", "other networks of 5.x", "5.3", _TEMPLATE),
    OtherSubtask(
        "distill",
        "other networks of 5.5 to 6.x",
        "5.5",
        "no other model is taught from; write `ddetr train` with train.pretrained_model_path=FILE",
    ),
    OtherSubtask(
        "prune",
        "other networks of 6.25.10",
        "6.25.10",
        "nothing is pruned; a smaller model.backbone or fewer layers, or export.precision=fp16, "
        "make a faster one",
    ),
    OtherSubtask(
        "dataset_convert",
        "other networks of 6.25.10",
        "6.25.10",
        "write `ddetr convert -e SPEC.YAML`",
    ),
    OtherSubtask("info", "launcher, 5.0 to 7.0", "launcher", "write `ddetr doctor`"),
    OtherSubtask(
        "list",
        "launcher",
        "launcher",
        "there are no containers to list; give a subtask, `ddetr --help` lists them",
    ),
    OtherSubtask("stop", "launcher", "launcher", "there are no containers; end a run with Ctrl+C"),
)
NETWORK = _NETWORK
TAKING_OPTIONS = _ALL
ENCRYPTING_SUBTASKS = _ALL[1:]  # the spec of convert has no key
