"""Which keys of a spec each subtask reads, and the ten of them that matter first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from ddetr_cli.spec.experiment import Experiment
from ddetr_cli.spec.key_table import KeyRow, blocks_of, key_row, key_rows, row_at
from ddetr_data import ConvertConfig


@dataclass(frozen=True)
class SubtaskKeys:
    """What one subtask reads of its spec."""

    model: type[BaseModel]
    blocks: tuple[str, ...]  # top-level keys; none stands for all
    main: tuple[str, ...]  # dotted names of what matters, the most needed first

    def main_rows(self) -> list[KeyRow]:
        """Describe the keys that matter, with the defaults of their fields."""
        return [row_at(self.model, name) for name in self.main]

    def all_rows(self) -> Iterator[KeyRow]:
        """Describe every key, block by block in the order of the model."""
        for name, field in self.model.model_fields.items():
            if self.blocks and name not in self.blocks:
                continue
            inner = blocks_of(field)
            if not inner:
                yield key_row(name, field)
            for block in inner:
                yield from key_rows(block, f"{name}.")


_SETTINGS = ("results_dir", "encryption_key")
_TRAINING = ("model", "dataset", "train", "evaluate", *_SETTINGS)
_MAIN_OF_TRAINING = (
    "dataset.train_data_sources",
    "dataset.val_data_sources",
    "dataset.num_classes",
    "dataset.batch_size",
    "train.num_epochs",
    "train.optim.lr",
    "train.pretrained_model_path",
    "train.num_gpus",
    "train.precision",
    "results_dir",
)
SUBTASK_KEYS: Mapping[str, SubtaskKeys] = {
    "convert": SubtaskKeys(
        ConvertConfig,
        (),
        (
            "format",
            "input_source",
            "image_dir_name",
            "label_dir_name",
            "classmap",
            "mapping_path",
            "val_split",
            "num_shards",
            "missing_labels",
            "results_dir",
        ),
    ),
    "train": SubtaskKeys(Experiment, _TRAINING, _MAIN_OF_TRAINING),
    "evaluate": SubtaskKeys(
        Experiment,
        ("dataset", "evaluate", *_SETTINGS),
        (
            "evaluate.checkpoint",
            "dataset.test_data_sources",
            "evaluate.batch_size",
            "evaluate.conf_threshold",
            "evaluate.max_detections",
            "evaluate.precision",
            "evaluate.runtime",
            "evaluate.trt_engine",
            "dataset.workers",
            "results_dir",
        ),
    ),
    "inference": SubtaskKeys(
        Experiment,
        ("dataset", "inference", *_SETTINGS),
        (
            "inference.checkpoint",
            "dataset.infer_data_sources",
            "inference.conf_threshold",
            "inference.batch_size",
            "inference.coco_json",
            "inference.csv",
            "inference.color_map",
            "inference.precision",
            "inference.runtime",
            "results_dir",
        ),
    ),
    "export": SubtaskKeys(
        Experiment,
        ("dataset", "evaluate", "export", *_SETTINGS),
        (
            "export.checkpoint",
            "export.onnx_file",
            "export.input_height",
            "export.input_width",
            "export.batch_size",
            "export.opset_version",
            "export.precision",
            "export.postprocess",
            "export.overwrite",
            "results_dir",
        ),
    ),
    "gen_trt_engine": SubtaskKeys(
        Experiment,
        ("gen_trt_engine", *_SETTINGS),
        (
            "gen_trt_engine.onnx_file",
            "gen_trt_engine.trt_engine",
            "gen_trt_engine.tensorrt.data_type",
            "gen_trt_engine.tensorrt.workspace_size",
            "gen_trt_engine.tensorrt.min_batch_size",
            "gen_trt_engine.tensorrt.opt_batch_size",
            "gen_trt_engine.tensorrt.max_batch_size",
            "gen_trt_engine.tensorrt.calibration.cal_image_dir",
            "gen_trt_engine.timing_cache",
            "results_dir",
        ),
    ),
    "check": SubtaskKeys(
        Experiment,
        ("dataset", "model", "evaluate"),
        (
            "dataset.train_data_sources",
            "dataset.val_data_sources",
            "dataset.test_data_sources",
            "dataset.num_classes",
            "dataset.eval_class_ids",
            "dataset.match_classes",
            "dataset.ignore_regions",
            "dataset.max_dropped",
            "dataset.workers",
            "model.num_queries",
        ),
    ),
    "plan": SubtaskKeys(Experiment, _TRAINING, _MAIN_OF_TRAINING),
    "summary": SubtaskKeys(
        Experiment,
        ("model", "dataset"),
        (
            "model.backbone",
            "model.num_feature_levels",
            "model.return_interm_indices",
            "model.hidden_dim",
            "model.nheads",
            "model.enc_layers",
            "model.dec_layers",
            "model.dim_feedforward",
            "model.num_queries",
            "dataset.num_classes",
        ),
    ),
}
