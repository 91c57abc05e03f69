"""Options of training, evaluation and inference: the blocks `train`, `evaluate` and `inference`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from ddetr_data.detection import LabelOptions

_FROZEN = ConfigDict(
    frozen=True, extra="forbid", protected_namespaces=(), populate_by_name=True, allow_inf_nan=False
)

# In a training's results folder: results.json and detections.json of the last validation.
VALIDATION_FOLDER = "validation"


LoggerName: TypeAlias = Literal["tensorboard", "mlflow", "wandb"]


class DeviceConfig(BaseModel):
    """Which GPUs a subtask uses; `ddetr_train.process` holds the rule that joins both keys."""

    model_config = _FROZEN

    num_gpus: int = Field(1, gt=0, description="Number of GPUs; the larger of both counts wins.")
    gpu_ids: tuple[int, ...] = Field(
        (0,), min_length=1, description="Indices of the GPUs, kept in the given order."
    )

    @model_validator(mode="after")
    def _check_gpu_ids(self) -> DeviceConfig:
        if min(self.gpu_ids) < 0 or len(set(self.gpu_ids)) < len(self.gpu_ids):
            raise ValueError(f"gpu_ids must be different indices from 0, got {list(self.gpu_ids)}")
        return self


class OptimizerConfig(BaseModel):
    """The optimiser, its three learning rates and their schedule (block `train.optim`)."""

    model_config = _FROZEN

    optimizer: Literal["AdamW", "SGD"] = Field("AdamW", description="Update rule.")
    lr: float = Field(2e-4, gt=0, description="Learning rate of everything without its own.")
    lr_backbone: float = Field(2e-5, ge=0, description="Learning rate of the backbone.")
    lr_linear_proj_mult: float = Field(
        0.1,
        gt=0,
        description="Factor on lr for the reference_points and sampling_offsets projections.",
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD; AdamW ignores it.")
    weight_decay: float = Field(1e-4, ge=0, description="Weight decay of all parameters.")
    lr_scheduler: Literal["MultiStep", "StepLR", "AutoReduce"] = Field(
        "MultiStep",
        description="Decay at lr_steps, every lr_step_size epochs, or on a plateau of lr_monitor.",
    )
    lr_steps: tuple[int, ...] = Field(
        (40,), description="Epochs after which MultiStep multiplies the rates by lr_decay."
    )
    lr_step_size: int = Field(40, gt=0, description="Epochs between the decays of StepLR.")
    lr_decay: float = Field(0.1, gt=0, le=1, description="Factor of one decay.")
    lr_monitor: Literal["val_loss", "train_loss"] = Field(
        "val_loss",
        validation_alias=AliasChoices("lr_monitor", "monitor_name"),
        description="Value that AutoReduce watches; the older name is monitor_name.",
    )

    @model_validator(mode="after")
    def _check_steps(self) -> OptimizerConfig:
        if any(step <= 0 for step in self.lr_steps) or list(self.lr_steps) != sorted(self.lr_steps):
            raise ValueError(f"lr_steps must be rising epochs above 0, got {list(self.lr_steps)}")
        return self


class TrainConfig(DeviceConfig):
    """Everything about a training run that is neither the model nor the data (block `train`)."""

    num_nodes: int = Field(
        1, gt=0, description="Machines; above 1 started by torchrun, SLURM or NODE_RANK."
    )
    accelerator: Literal["auto", "cpu", "gpu"] = Field(
        "auto", description="auto takes GPUs when there are any; gpu insists on them."
    )
    seed: int = Field(1234, ge=0, lt=2**32, description="Seed of every random number of the run.")
    num_epochs: int = Field(10, gt=0, description="Passes over the training images.")
    batch_size: Annotated[int, Field(gt=0, lt=2**31)] | Literal["auto"] | None = Field(
        None,
        description="Images a step and device; null takes dataset.batch_size, auto the most that "
        "the GPU holds.",
    )
    checkpoint_interval: int = Field(
        1, gt=0, description="Epochs between model_epoch_EEE.pth files; the last is always kept."
    )
    checkpoint_interval_steps: int | None = Field(
        None, gt=0, description="Steps between refreshes of dd_model_latest.pth inside an epoch."
    )
    keep_last_checkpoints: int | None = Field(
        None, gt=0, description="Number of model_epoch_EEE.pth files to keep; null keeps all."
    )
    validation_interval: int = Field(
        1, gt=0, description="Epochs between validations; the last epoch always has one."
    )
    resume_training_checkpoint_path: Path | None = Field(
        None, description="Checkpoint to continue from; wins over dd_model_latest.pth."
    )
    results_dir: Path | None = Field(
        None, description="Folder of this run; null stands for <results_dir>/train."
    )
    optim: OptimizerConfig = Field(default_factory=OptimizerConfig)
    clip_grad_norm: float = Field(
        0.1, ge=0, description="Largest L2 norm of all gradients together; 0 does not clip."
    )
    precision: Literal["fp32", "fp16", "bf16"] = Field(
        "fp32", description="fp16 and bf16 are mixed precision; losses and matching stay fp32."
    )
    distributed_strategy: Literal["ddp", "fsdp"] = Field(
        "ddp", description="ddp copies the model to every process, fsdp splits it (FSDP2)."
    )
    activation_checkpoint: bool = Field(
        True, description="Recompute the encoder and decoder layers' activations to save memory."
    )
    pretrained_model_path: Path | None = Field(
        None, description="Whole-model weights to start from, matched by name."
    )
    freeze: tuple[str, ...] = Field(
        (), description='Modules that do not train, such as "backbone" or "transformer.encoder".'
    )
    loggers: tuple[LoggerName, ...] = Field(
        ("tensorboard",),
        description="Where figures are logged, below results_dir and nowhere else; mlflow and "
        "wandb are extras of ddetr-train.",
    )
    verbose: bool = Field(False, description="Report every change of a learning rate.")
    is_dry_run: bool = Field(
        False, description="One batch of training and of validation; no file is kept."
    )
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of the running mean of the weights, which is then what is "
        "validated and saved; null is off.",
    )
    accumulate_grad_batches: int = Field(
        1, gt=0, description="Batches whose gradients are added before an update."
    )
    warmup_steps: int = Field(
        0, ge=0, description="Updates over which the learning rates rise linearly from 0."
    )
    early_stopping_patience: int | None = Field(
        None, gt=0, description="Validations without a better mAP after which training stops."
    )
    compile: bool = Field(False, description="Compile the network with torch.compile.")
    deterministic: bool = Field(
        False, description="Only deterministic algorithms, also on GPUs; slower."
    )


class _ScoringConfig(DeviceConfig):
    checkpoint: Path | None = Field(None, description="Checkpoint (.pth) or ONNX file (.onnx).")
    trt_engine: Path | None = Field(None, description="TensorRT engine to run in its place.")
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

    @model_validator(mode="after")
    def _check_size(self) -> _ScoringConfig:
        if (self.input_width is None) != (self.input_height is None):
            raise ValueError(
                "input_width and input_height must be given together, got "
                f"input_width={self.input_width} and input_height={self.input_height}"
            )
        return self


class EvaluateConfig(_ScoringConfig):
    """Options of scoring a checkpoint on labelled images (block `evaluate`)."""

    conf_threshold: float = Field(
        0.0, ge=0, le=1, description="Detections below this score are left out of the scores."
    )


class InferenceConfig(_ScoringConfig):
    """Options of labelling images with a checkpoint (block `inference`)."""

    conf_threshold: float = Field(
        0.5, ge=0, le=1, description="Detections below this score are not written."
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

    @property
    def label_options(self) -> LabelOptions:
        """What ddetr_data.detection.labelling is to keep of the detections."""
        from ddetr_data.detection import LabelOptions

        return LabelOptions(
            conf_threshold=self.conf_threshold,
            color_map=self.color_map,
            outline_width=self.outline_width,
            coco_json=self.coco_json,
            csv_file=self.csv,
        )
