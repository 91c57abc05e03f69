"""Options of training: the block `train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ddetr_data import DEFAULT_MAX_DETECTIONS
from ddetr_data.detection import DeviceConfig

_FROZEN = ConfigDict(
    frozen=True, extra="forbid", protected_namespaces=(), populate_by_name=True, allow_inf_nan=False
)

# In a training's results folder: results.json and detections.json of the last validation.
VALIDATION_FOLDER = "validation"


LoggerName: TypeAlias = Literal["tensorboard", "mlflow", "wandb"]


class GroupNames(BaseModel):
    """Which parameters have a learning rate of their own, by parts of their names."""

    model_config = _FROZEN

    backbone_names: tuple[str, ...] = Field(
        ("backbone.0",), description="Parameter name parts that learn at train.optim.lr_backbone."
    )
    linear_proj_names: tuple[str, ...] = Field(
        ("reference_points", "sampling_offsets"),
        description="Parameter name parts whose rate is multiplied by lr_linear_proj_mult.",
    )


class OptimizerConfig(GroupNames):
    """The optimiser, its three learning rates and their schedule (block `train.optim`)."""

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
    lr_scheduler: Literal["MultiStep", "StepLR", "AutoReduce", "Cosine"] = Field(
        "MultiStep",
        description="Decay at lr_steps, every lr_step_size epochs, on a plateau of lr_monitor, or "
        "along half a cosine to lr_final_mult.",
    )
    lr_steps: tuple[int, ...] = Field(
        (40,), description="Epochs after which MultiStep multiplies the rates by lr_decay."
    )
    lr_step_size: int = Field(40, gt=0, description="Epochs between the decays of StepLR.")
    lr_decay: float = Field(0.1, gt=0, le=1, description="Factor of one decay.")
    lr_monitor: Literal["val_loss", "train_loss"] = Field(
        "val_loss", description="Value that AutoReduce watches."
    )

    lr_final_mult: float = Field(
        0.01, ge=0, le=1, description="Fraction of the rates that Cosine reaches in its last epoch."
    )
    lr_cosine_epochs: int | None = Field(
        None,
        gt=0,
        description="Epochs over which Cosine falls, then it stays; null takes train.num_epochs.",
    )

    @model_validator(mode="after")
    def _check_steps(self) -> OptimizerConfig:
        if any(step <= 0 for step in self.lr_steps) or list(self.lr_steps) != sorted(self.lr_steps):
            raise ValueError(f"lr_steps must be rising epochs above 0, got {list(self.lr_steps)}")
        return self

    def spanning(self, num_epochs: int) -> OptimizerConfig:
        """Fill lr_cosine_epochs where Cosine leaves it open.

        A run that goes on to more epochs then shows that it was planned for fewer.
        """
        if self.lr_scheduler != "Cosine" or self.lr_cosine_epochs is not None:
            return self
        return self.model_copy(update={"lr_cosine_epochs": num_epochs})


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
    max_detections: int = Field(
        DEFAULT_MAX_DETECTIONS,
        gt=0,
        description="Detections of an image and class that validation scores; in a spec "
        "evaluate.max_detections.",
    )
    resume_training_checkpoint_path: Path | None = Field(
        None, description="Checkpoint to continue from; wins over dd_model_latest.pth."
    )
    resume_optim: Literal["keep", "new"] = Field(
        "keep",
        description="Whether a resumed run keeps its optimiser and schedules, or takes optim and "
        "warmup_steps anew, as they stand at its epoch; moments stay with the same optimizer.",
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
    sync_batchnorm: bool = Field(
        False,
        description="Live batch norms take the batches of all GPU processes together; frozen ones "
        "stay as they are.",
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
        description="Where figures are logged, below results_dir and nowhere else. Each is an "
        "extra of ddetr-train; ddetr-cli brings tensorboard, without which the default logs none.",
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
        None,
        gt=0,
        description="Validations without a better mAP after which training stops.",
    )
    compile: bool = Field(False, description="Compile the network with torch.compile.")
    deterministic: bool = Field(
        False, description="Only deterministic algorithms, also on GPUs; slower."
    )
