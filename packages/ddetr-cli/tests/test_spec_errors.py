"""Wrong keys and wrong values: each named with its line, its limit and what to write instead."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ddetr_cli.spec import Experiment, SpecError

Load = Callable[..., Experiment]

# (override, what the sentence must say besides the key)
BAD_VALUES = [
    ("train.num_epochs=0", "greater than 0"),
    ("train.num_epochs=2.5", "a whole number"),
    ("train.num_epochs=many", "a whole number"),
    ("dataset.augmentation.scales=[64, null]", "a whole number, got null"),
    ("train.num_gpus=0", "greater than 0"),
    ("train.gpu_ids=[]", "at least 1"),
    ("train.gpu_ids=0", "a list"),
    ("train.gpu_ids=[-1]", "different indices from 0"),
    ("train.seed=-1", "at least 0"),
    ("train.checkpoint_interval=0", "greater than 0"),
    ("train.validation_interval=-5", "greater than 0"),
    ("train.clip_grad_norm=-0.1", "at least 0"),
    ("train.precision=fp8", "'fp32', 'fp16' or 'bf16'"),
    ("train.distributed_strategy=dp", "'ddp' or 'fsdp'"),
    ("train.activation_checkpoint=perhaps", "true or false"),
    ("train.optim.lr=0", "greater than 0"),
    ("train.optim.lr=fast", "a number"),
    ("train.optim.lr=.nan", "finite number"),
    ("train.optim.momentum=1", "less than 1"),
    ("train.optim.optimizer=Adam", "'AdamW' or 'SGD'"),
    ("train.optim.lr_scheduler=Cubic", "'MultiStep'"),
    ("train.optim.lr_monitor=loss", "'val_loss' or 'train_loss'"),
    ("train.optim=5", "a block of keys"),
    ("dataset.num_classes=0", "greater than 0 or 'auto'"),
    ("dataset.batch_size=0", "greater than 0"),
    ("dataset.batch_size=99999999999999999999", "less than 2147483648"),
    ("train.batch_size=99999999999999999999", "less than 2147483648"),
    ("dataset.workers=-1", "at least 0"),
    ("dataset.dataset_type=lmdb", "'serialized' or 'default'"),
    ("dataset.train_sampler=random", "'default_sampler'"),
    ("dataset.augmentation.input_mean=[1, 2]", "1 or 3 values"),
    ("dataset.augmentation.input_std=[0]", "above 0"),
    ("dataset.augmentation.horizontal_flip_prob=1.5", "at most 1"),
    ("dataset.augmentation.scales=[0]", "greater than 0"),
    ("dataset.augmentation.fixed_random_crop=100", "divisible by 32"),
    ("model.num_feature_levels=6", "at most 5"),
    ("model.dropout_ratio=1.1", "at most 1"),
    ("model.backbone=resnet50", "did you mean resnet_50"),
    ("model.num_queries=0", "greater than 0"),
    ("model.enc_layers=0", "greater than 0"),
    ("model.giou_loss_coef=0", "greater than 0"),
    ("model.return_interm_indices=[2, 1]", "[1, 2]"),
    ("evaluate.conf_threshold=-0.1", "at least 0"),
    ("inference.conf_threshold=2", "at most 1"),
    ("inference.color_map=red", "a block of keys"),
    ("inference.color_map.car=[1, 2]", "text"),
    ("export.input_channel=1", "3"),
    ("export.batch_size=-2", "at least -1"),
    ("export.on_cpu=maybe", "true or false"),
    ("gen_trt_engine.tensorrt.data_type=FP8", "'FP16'"),
    ("gen_trt_engine.tensorrt.max_batch_size=0", "greater than 0"),
    ("results_dir=[a]", "text"),
    ('results_dir=""', "text that is not empty"),
    ("train.seed=99999999999", "less than 4294967296"),
    ("dataset.augmentation.scales=480,512", "write a list as [1, 2], without quotes"),
    ('dataset.augmentation.scales="[480]"', "write a list as [1, 2], without quotes"),
    ("train.freeze=backbone", "a list, got 'backbone'; write a list as [1, 2]"),
    ("train.batch_size=0", "greater than 0"),
    ("train.ema_decay=1", "less than 1"),
    ("train.accumulate_grad_batches=0", "greater than 0"),
    ("train.warmup_steps=-1", "at least 0"),
    ("train.early_stopping_patience=0", "greater than 0"),
    ("train.accelerator=tpu", "'auto', 'cpu' or 'gpu'"),
    ("train.loggers=[comet]", "'tensorboard'"),
    ("train.num_nodes=0", "greater than 0"),
    ("train.gpu_ids=[0, 0]", "different indices"),
    ("train.optim.lr=true", "a number"),
    ("train.optim.lr_backbone=-1", "at least 0"),
    ("train.optim.lr_linear_proj_mult=0", "greater than 0"),
    ("train.optim.weight_decay=-1", "at least 0"),
    ("train.optim.lr_steps=[20, 10]", "rising epochs"),
    ("train.optim.lr_steps=[0]", "rising epochs"),
    ("train.optim.lr_step_size=0", "greater than 0"),
    ("train.optim.lr_decay=2", "at most 1"),
    ("dataset.num_classes=some", "'auto'"),
    ("dataset.pin_memory=2", "true or false"),
    ("dataset.corrupt_images=ignore", "'error' or 'skip'"),
    ("dataset.eval_class_ids=[a]", "a whole number"),
    ("dataset.augmentation.input_std=[1, -1, 1]", "above 0"),
    ("dataset.augmentation.train_random_crop_min=0", "greater than 0"),
    ("dataset.augmentation.random_resize_max_size=0", "greater than 0"),
    ("dataset.augmentation.test_random_resize=0", "greater than 0"),
    ("dataset.augmentation.horizontal_flip_prob=-0.1", "at least 0"),
    ("model.num_feature_levels=0", "at least 1"),
    ("model.backbone=timm:", "timm:<name>"),
    ("model.focal_alpha=0", "greater than 0"),
    ("model.focal_alpha=2", "at most 1"),
    ("model.cls_loss_coef=-1", "greater than 0"),
    ("model.loss_types=[masks]", "'labels' or 'boxes'"),
    ("model.denoising_box_noise=1", "less than 1"),
    ("evaluate.num_gpus=0", "greater than 0"),
    ("evaluate.batch_size=0", "greater than 0"),
    ("inference.outline_width=0", "greater than 0"),
    ("export.opset_version=10", "at least 11"),
    ("export.batch_size=0", "batch_size must be -1"),
    ("export.format=torchscript", "'onnx'"),
    ("export.input_width=16", "at least 32"),
    ("export.sampling=bilinear", "'auto', 'grid' or 'gather'"),
    ("gen_trt_engine.gpu_id=-1", "at least 0"),
    ("gen_trt_engine.tensorrt.workspace_size=0", "greater than 0"),
    ("gen_trt_engine.tensorrt.calibration.cal_batches=0", "greater than 0"),
]


@pytest.mark.parametrize(("override", "limit"), BAD_VALUES, ids=[key for key, _ in BAD_VALUES])
def test_a_bad_value_is_one_sentence_with_key_limit_and_line(
    load: Load, override: str, limit: str
) -> None:
    """Type, range and choice errors tell the whole key, the rule and the override."""
    with pytest.raises(SpecError) as caught:
        load("", [override])
    (line,) = str(caught.value).splitlines()
    assert override.partition("=")[0] in line
    assert limit in line
    assert f"override {override}" in line


CROSS_FIELD = [
    ("model: {num_feature_levels: 3}", ["num_feature_levels", "return_interm_indices"]),
    ("model: {hidden_dim: 100}", ["hidden_dim", "nheads"]),
    ("model: {two_stage: true, with_box_refine: false}", ["two_stage", "with_box_refine"]),
    ("model: {num_queries: 5, num_select: 50}\ndataset: {num_classes: 2}", ["num_select", "10"]),
    (
        "dataset: {augmentation: {train_random_crop_min: 700}}",
        ["dataset.augmentation", "train_random_crop_min (700)", "train_random_crop_max (600)"],
    ),
    ("evaluate: {input_width: 640}", ["input_width", "input_height"]),
    (
        "gen_trt_engine: {tensorrt: {min_batch_size: 4}}",
        ["min_batch_size", "opt_batch_size", "max_batch_size"],
    ),
]


@pytest.mark.parametrize(("text", "parts"), CROSS_FIELD)
def test_values_that_disagree_are_both_named(load: Load, text: str, parts: list[str]) -> None:
    """A rule over two keys names both, and the line of the one that was written."""
    with pytest.raises(SpecError, match=r"spec\.yaml:1") as caught:
        load(text)
    assert all(part in str(caught.value) for part in parts)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "train:\n  num_epoch: 3",
            "unknown key train.num_epoch (spec.yaml:2); did you mean train.num_epochs?",
        ),
        ("trian: {}", "unknown key trian (spec.yaml:1); did you mean train?"),
        (
            "dataset:\n  train_data_sources:\n    - image_dir: a\n      json_files: b",
            "unknown key dataset.train_data_sources.0.json_files (spec.yaml:4); "
            "did you mean dataset.train_data_sources.0.json_file?",
        ),
        (
            "dataset: {test_data_sources: {image_dir: a, json_file: b, jsn: c}}",
            "unknown key dataset.test_data_sources.jsn (spec.yaml:1)",
        ),
        ("lr: 1", "unknown key lr (spec.yaml:1); did you mean train.optim.lr?"),
        ("model: {num_classes: 3}", "did you mean dataset.num_classes?"),
        ("qqq: 1", "unknown key qqq (spec.yaml:1)"),
        ("export: {opset: 12}", "did you mean export.opset_version?"),
        ("epochs: 3", "did you mean train.num_epochs?"),
        ("TRAIN: {seed: 1}", "did you mean train?"),
        ("train: {num-epochs: 3}", "did you mean train.num_epochs?"),
        ("train.seed: 3", "write it as a key in a block, not with a dot"),
    ],
)
def test_an_unknown_key_is_named_with_its_line_and_its_neighbour(
    load: Load, text: str, sentence: str
) -> None:
    """A typo is answered by the nearest key, a key in the wrong block by the right block."""
    with pytest.raises(SpecError) as caught:
        load(text)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_an_unknown_key_does_not_slip_through_an_override(load: Load, sign: str) -> None:
    """A plus in front changes nothing."""
    with pytest.raises(SpecError, match=r"unknown key train\.num_epoch .*num_epochs"):
        load("", [f"{sign}train.num_epoch=3"])


def test_all_faults_are_told_at_once(load: Load) -> None:
    """One line each, so that a spec is mended in one go."""
    with pytest.raises(SpecError) as caught:
        load("train: {num_epochs: 0, sed: 1}\nexport: {input_channel: 4}", ["lr=2"])
    assert len(str(caught.value).splitlines()) == 4


def test_a_missing_key_of_a_source_is_named(load: Load) -> None:
    """An image folder without labels is told with its index and line."""
    with pytest.raises(SpecError, match=r"train_data_sources\.0\.json_file is missing"):
        load("dataset: {train_data_sources: [{image_dir: a}]}")


def test_a_secret_is_not_quoted(load: Load) -> None:
    """An error about the passphrase does not show it."""
    with pytest.raises(SpecError) as caught:
        load("", ["encryption_key=[sesame]"])
    assert "sesame" not in str(caught.value)
