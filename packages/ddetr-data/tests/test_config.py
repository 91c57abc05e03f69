"""The dataset block: defaults, one-or-many values, ranges and cross-field rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from ddetr_data.config import AugmentationConfig, DatasetConfig, DataSource, InferSource


def test_defaults_are_those_of_the_page() -> None:
    """An empty block means what the documentation says."""
    dataset = DatasetConfig()
    assert (dataset.num_classes, dataset.batch_size, dataset.workers) == (91, 4, 8)
    assert (dataset.train_sampler, dataset.dataset_type) == ("default_sampler", "serialized")
    assert dataset.augmentation.scales == (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    assert dataset.augmentation.fixed_padding is True


def test_one_test_source_and_many_are_the_same_field() -> None:
    """test_data_sources takes a mapping as well as a list of them."""
    source = {"image_dir": "images", "json_file": "labels.json"}
    one = DatasetConfig(test_data_sources=source)
    assert one == DatasetConfig(test_data_sources=[source])
    assert one.test_data_sources == (DataSource(image_dir="images", json_file="labels.json"),)


def test_a_text_is_never_taken_apart_into_letters() -> None:
    """A single path stays one path wherever a list may stand."""
    assert DataSource(image_dir="images", json_file="/data/a.json").json_file == ("/data/a.json",)
    assert InferSource(image_dir="/data/img").image_dir == ("/data/img",)
    assert DataSource(image_dir=Path("images"), json_file=[Path("a.json")]).image_dir == "images"


def test_absent_sources_are_empty() -> None:
    """A null in the spec means no source."""
    assert DatasetConfig(val_data_sources=None).val_data_sources == ()


def test_a_block_survives_its_own_dump() -> None:
    """What is written to experiment.yaml loads as the same block."""
    dataset = DatasetConfig(
        train_data_sources=[{"image_dir": "a", "json_file": ["b", "c"]}],
        infer_data_sources={"image_dir": ["a", "b"]},
        num_classes="auto",
        augmentation={"input_std": 0.5},
    )
    assert DatasetConfig(**dataset.model_dump(mode="json")) == dataset


@pytest.mark.parametrize("values", [0.5, [0.5], [0.5, 0.4, 0.3]])
def test_mean_and_std_have_one_or_three_values(values: object) -> None:
    """A grey or an RGB normalisation is accepted, also as a bare number."""
    assert len(AugmentationConfig(input_mean=values, input_std=values).input_mean) in (1, 3)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("input_mean", [0.5, 0.5], "1 or 3 values"),
        ("input_std", [0.2, 0.0, 0.2], "above 0"),
        ("input_mean", float("nan"), "finite number"),
        ("scales", [], "at least 1 item"),
        ("scales", [480, 0], "greater than 0"),
        ("horizontal_flip_prob", 1.5, "less than or equal to 1"),
        ("fixed_random_crop", 100, "divisible by 32"),
        ("train_random_crop_min", 700, "train_random_crop_max"),
        ("random_resize_max_size", 0, "greater than 0"),
        ("scale", [480], "Extra inputs"),
    ],
)
def test_a_bad_augmentation_is_refused(field: str, value: object, rule: str) -> None:
    """The text of the error states the rule."""
    with pytest.raises(ValidationError, match=rule):
        AugmentationConfig(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_classes", 0),
        ("num_classes", "many"),
        ("batch_size", 0),
        ("workers", -1),
        ("train_sampler", "sampler"),
        ("dataset_type", "h5"),
        ("train_data_sources", [{"image_dir": "a"}]),
        ("train_data_sources", [{"image_dir": "", "json_file": "b"}]),
        ("train_data_sources", [{"image_dir": "a", "json_file": []}]),
        ("infer_data_sources", {"image_dir": []}),
        ("eval_class_ids", []),
    ],
)
def test_a_bad_dataset_is_refused(field: str, value: object) -> None:
    """The error names the field."""
    with pytest.raises(ValidationError, match=field):
        DatasetConfig(**{field: value})


def test_configs_are_frozen() -> None:
    """A config cannot be changed after it was checked."""
    with pytest.raises(ValidationError, match="frozen"):
        DatasetConfig().batch_size = 8


@pytest.mark.parametrize("sampler", ["uniform_sampler", "non_uniform_sampler"])
def test_a_sampler_acts_with_plain_lists_alone(sampler: str) -> None:
    """As TAO's documentation says of dataset_type."""
    # fault 48
    assert DatasetConfig(train_sampler=sampler).sampler_in_effect == "default_sampler"
    plain = DatasetConfig(train_sampler=sampler, dataset_type="default")
    assert plain.sampler_in_effect == sampler
