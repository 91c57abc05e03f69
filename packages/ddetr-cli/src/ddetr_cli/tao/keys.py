"""Keys of TAO's specs, by the version that had them first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class KeysOf(NamedTuple):
    """The keys that came into a block with a version."""

    version: str
    source: str  # a key of SOURCES
    block: str  # "" for the top level, "convert:" for the flat spec of convert
    names: str

    def dotted(self) -> Iterator[str]:
        """Give each key with its block."""
        for name in self.names.split():
            yield f"{self.block}.{name}" if self.block and ":" not in self.block else name


KEYS: tuple[KeysOf, ...] = (
    KeysOf(
        "5.0.0",
        "5.0 keys",
        "model",
        "pretrained_backbone_path backbone num_queries num_feature_levels "
        "return_interm_indices with_box_refine cls_loss_coef bbox_loss_coef "
        "giou_loss_coef focal_alpha clip_max_norm dropout_ratio hidden_dim nheads "
        "enc_layers dec_layers dim_feedforward dec_n_points enc_n_points aux_loss "
        "dilation train_backbone loss_types backbone_names linear_proj_names",
    ),
    KeysOf(
        "5.0.0",
        "5.0 keys",
        "dataset",
        "train_sampler train_data_sources val_data_sources test_data_sources "
        "infer_data_sources batch_size workers pin_memory num_classes dataset_type "
        "eval_class_ids",
    ),
    KeysOf(
        "5.0.0",
        "5.0 keys",
        "dataset.augmentation",
        "scales input_mean input_std train_random_resize horizontal_flip_prob "
        "train_random_crop_min train_random_crop_max random_resize_max_size "
        "test_random_resize fixed_padding",
    ),
    KeysOf(
        "5.0.0",
        "5.0 keys",
        "train",
        "num_gpus num_nodes resume_training_checkpoint_path pretrained_model_path "
        "validation_interval clip_grad_norm is_dry_run results_dir num_epochs "
        "checkpoint_interval precision distributed_strategy activation_checkpoint",
    ),
    KeysOf(
        "5.0.0",
        "5.0 keys",
        "train.optim",
        "optimizer monitor_name lr lr_backbone lr_linear_proj_mult momentum weight_decay "
        "lr_scheduler lr_steps lr_step_size lr_decay",
    ),
    KeysOf(
        "5.0.0",
        "5.0 keys",
        "evaluate",
        "num_gpus results_dir input_width input_height checkpoint trt_engine conf_threshold",
    ),
    KeysOf(
        "5.0.0",
        "5.0 keys",
        "inference",
        "num_gpus results_dir checkpoint trt_engine color_map conf_threshold is_internal "
        "input_width input_height",
    ),
    KeysOf(
        "5.0.0",
        "5.0 keys",
        "export",
        "results_dir gpu_id checkpoint onnx_file on_cpu input_channel input_width "
        "input_height opset_version batch_size verbose",
    ),
    KeysOf(
        "5.0.0",
        "5.0 keys",
        "gen_trt_engine",
        "results_dir gpu_id onnx_file trt_engine input_channel input_width input_height "
        "opset_version batch_size verbose",
    ),
    KeysOf(
        "5.0.0",
        "5.0 keys",
        "gen_trt_engine.tensorrt",
        "data_type workspace_size min_batch_size opt_batch_size max_batch_size",
    ),
    KeysOf(
        "5.0.0",
        "5.0 keys",
        "gen_trt_engine.tensorrt.calibration",
        "cal_image_dir cal_cache_file cal_batch_size cal_batches",
    ),
    KeysOf(
        "5.0.0",
        "5.0 keys",
        "",
        "encryption_key results_dir",
    ),
    KeysOf(
        "5.0.0",
        "5.0 keys",
        "convert:",
        "input_source data_root results_dir image_dir_name label_dir_name val_split "
        "num_shards num_partitions partition_mode image_extension mapping_path",
    ),
    KeysOf(
        "5.2.0",
        "5.2 keys",
        "dataset.augmentation",
        "fixed_random_crop",
    ),
    KeysOf(
        "5.2.0",
        "5.2 keys",
        "train",
        "freeze verbose",
    ),
    KeysOf(
        "5.5",
        "5.5 keys",
        "wandb",
        "enable project entity tags reinit sync_tensorboard save_code name",
    ),
    KeysOf(
        "5.5",
        "5.5 keys",
        "model",
        "num_select",
    ),
    KeysOf(
        "5.5",
        "5.5 keys",
        "train",
        "gpu_ids seed",
    ),
    KeysOf(
        "5.5",
        "5.5 keys",
        "train.cudnn",
        "benchmark deterministic",
    ),
    KeysOf(
        "5.5",
        "5.5 keys",
        "evaluate",
        "gpu_ids num_nodes",
    ),
    KeysOf(
        "5.5",
        "5.5 keys",
        "inference",
        "gpu_ids num_nodes outline_width",
    ),
    KeysOf(
        "6.25.9",
        "6.25.9 keys",
        "",
        "model_name",
    ),
    KeysOf(
        "6.25.9",
        "6.25.9 keys",
        "evaluate",
        "batch_size",
    ),
    KeysOf(
        "6.25.9",
        "6.25.9 keys",
        "inference",
        "batch_size",
    ),
    KeysOf(
        "6.25.9",
        "6.25.9 keys",
        "export",
        "format serialize_nvdsinfer",
    ),
    KeysOf(
        "6.25.9",
        "6.25.9 keys",
        "gen_trt_engine",
        "timing_cache",
    ),
    KeysOf(
        "6.25.9",
        "6.25.9 keys",
        "gen_trt_engine.tensorrt",
        "layers_precision",
    ),
    KeysOf(
        "6.25.11",
        "6.25.11 keys",
        "wandb",
        "run_id",
    ),
    KeysOf(
        "6.25.11",
        "6.25.11 keys",
        "train",
        "checkpoint_interval_unit",
    ),
    KeysOf(
        "6.26.3",
        "6.26.3 keys",
        "wandb",
        "group",
    ),
    KeysOf(
        "6.26.3",
        "6.26.3 keys",
        "model",
        "dld_model_dir_path",
    ),
    KeysOf(
        "6.26.3",
        "6.26.3 keys",
        "dataset",
        "quant_calibration_data_sources",
    ),
    KeysOf(
        "6.26.3",
        "6.26.3 keys",
        "train",
        "input_width input_height",
    ),
    KeysOf(
        "6.26.3",
        "6.26.3 keys",
        "quantize",
        "backend mode algorithm skip_names model_path results_dir backend_kwargs device",
    ),
    KeysOf(
        "6.26.3",
        "6.26.3 keys",
        "quantize.layers",
        "module_name",
    ),
    KeysOf(
        "6.26.3",
        "6.26.3 keys",
        "quantize.layers.weights",
        "dtype observer_or_fake_quant quant_axis observer_or_fake_quant_kwargs",
    ),
    KeysOf(
        "6.26.3",
        "6.26.3 keys",
        "quantize.layers.activations",
        "dtype observer_or_fake_quant quant_axis observer_or_fake_quant_kwargs",
    ),
)
