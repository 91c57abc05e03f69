"""Specs of TAO's other versions: what they hold beyond ours is adopted, or named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddetr_cli.spec import (
    RENAMED,
    WITHOUT_EFFECT,
    Experiment,
    LoadedSpec,
    SpecError,
    known_keys,
    load_spec,
)

DEPLOYMENT = "model: {num_feature_levels: 2}\ndataset: {batch_size: -1}\n"
# A template as version 6 writes it: every key there, what is to be given empty.
TEMPLATE = """
results_dir: ""
model_name: null
encryption_key: ""
wandb: {enable: true, project: boxes, tags: [a]}
model: {pretrained_backbone_path: "", num_select: 300}
dataset:
  train_data_sources: [{image_dir: "", json_file: ""}]
  val_data_sources: [{image_dir: "", json_file: ""}]
  test_data_sources: {image_dir: "", json_file: ""}
  infer_data_sources: {image_dir: [""], classmap: ""}
  quant_calibration_data_sources: {image_dir: "", json_file: ""}
train:
  cudnn: {benchmark: false, deterministic: true}
  checkpoint_interval_unit: epoch
  pretrained_model_path: ""
  optim: {monitor_name: train_loss}
evaluate: {num_nodes: 1, batch_size: -1, checkpoint: ""}
inference: {batch_size: -1, color_map: null}
gen_trt_engine: {opset_version: 12, tensorrt: {calibration: {cal_image_dir: ["???"]}}}
quantize: {mode: weight_only_ptq}
"""


def loaded(folder: Path, text: str, task: str | None = None, *overrides: str) -> LoadedSpec:
    """Load a spec of this text as a subtask does."""
    path = folder / "spec.yaml"
    path.write_text(text)
    return load_spec(Experiment, path, overrides, task)


def test_a_template_is_the_defaults_until_it_is_filled_in(tmp_path: Path) -> None:
    """Empty names, -1 for another key's batch and keys without effect change nothing."""
    found = loaded(tmp_path, TEMPLATE)
    expected = loaded(
        tmp_path, "model: {num_select: 300}\ntrain: {optim: {lr_monitor: train_loss}}"
    )
    assert found.spec == expected.spec
    assert found.spec.passphrase is None
    (notice,) = found.notices
    assert "wandb" in notice
    assert "quantize" in notice
    assert "model_name" not in notice  # null: nobody asked for anything


def test_a_template_takes_overrides(tmp_path: Path) -> None:
    """A source that was all empty is filled in from the command line."""
    source = "dataset.train_data_sources.0"
    spec = loaded(tmp_path, TEMPLATE, "train", f"{source}.image_dir=a", f"{source}.json_file=b")
    assert spec.spec.dataset.train_data_sources[0].json_file == ("b",)


def test_half_a_source_is_still_a_fault(tmp_path: Path) -> None:
    """An empty text is a missing one, with its line."""
    with pytest.raises(
        SpecError, match=r"test_data_sources\.json_file is missing \(spec\.yaml:1\)"
    ):
        loaded(tmp_path, 'dataset: {test_data_sources: {image_dir: a, json_file: ""}}')


@pytest.mark.parametrize("task", ["export", "gen_trt_engine"])
def test_what_needs_no_data_takes_a_dynamic_batch(task: str, tmp_path: Path) -> None:
    """The page's deployment specs say dataset.batch_size -1 and leave out the levels' indices."""
    model = loaded(tmp_path, DEPLOYMENT, task).spec.model
    assert model.return_interm_indices == (1, 2)


@pytest.mark.parametrize("task", ["train", None])
def test_training_takes_neither(task: str | None, tmp_path: Path) -> None:
    """There both are faults, each with its own sentence."""
    with pytest.raises(SpecError) as caught:
        loaded(tmp_path, DEPLOYMENT, task)
    assert "num_feature_levels must equal" in str(caught.value)
    assert "dataset.batch_size must be greater than 0, got -1" in str(caught.value)


def test_checkpoints_by_steps_are_refused(tmp_path: Path) -> None:
    """A unit that would change the run is not dropped in silence."""
    with pytest.raises(SpecError, match=r"must be epoch, got 'step'; .*checkpoint_interval_steps"):
        loaded(tmp_path, "train: {checkpoint_interval_unit: step}")


def test_a_typo_beside_an_older_key_is_still_found(tmp_path: Path) -> None:
    """Only the keys of the table are let through."""
    with pytest.raises(SpecError, match="unknown key wandbs"):
        loaded(tmp_path, "wandb: {enable: false}\nwandbs: {enable: false}")


def test_older_keys_are_none_of_ours() -> None:
    """The tables would hide a key of this version otherwise."""
    ours = {path for path, _ in known_keys(Experiment)}
    assert not ours & (WITHOUT_EFFECT.keys() | RENAMED.keys())
    assert set(RENAMED.values()) <= ours


@pytest.mark.parametrize("text", ["model: {pretrained_model_path: a.pth, OTHER}", "model: {OTHER}"])
@pytest.mark.parametrize("nothing", ["null", "''", "'???'"])
def test_one_name_may_be_left_open(tmp_path: Path, text: str, nothing: str) -> None:
    """The one that is filled in counts, and both may say the same."""
    other = text.replace("OTHER", f"pretrained_backbone_path: {nothing}")
    expected = "a.pth" if "a.pth" in text else None
    assert loaded(tmp_path, other).spec.model.pretrained_backbone_path == expected
    both = "model: {pretrained_backbone_path: a.pth, pretrained_model_path: a.pth}"
    assert loaded(tmp_path, both).spec.model.pretrained_backbone_path == "a.pth"


def test_two_names_with_two_values_are_refused(tmp_path: Path) -> None:
    """Nobody can tell which one is meant; the line is that of the name here."""
    text = "model:\n  pretrained_model_path: a.pth\n"
    with pytest.raises(SpecError, match=r"are one setting with two values: give one \(override "):
        loaded(tmp_path, text, None, "model.pretrained_backbone_path=b.pth")


def test_an_older_name_can_be_set_and_referred_to(tmp_path: Path) -> None:
    """By an override, and as ${...} from another key; a wrong value is told with its line."""
    text = "results_dir: ${train.optim.monitor_name}\ntrain: {optim: {monitor_name: val_loss}}"
    found = loaded(tmp_path, text, None, "train.optim.monitor_name=train_loss")
    assert found.spec.train.optim.lr_monitor == found.spec.results_dir == "train_loss"
    with pytest.raises(SpecError, match=r"train\.optim\.lr_monitor must be .* \(spec\.yaml:1\)"):
        loaded(tmp_path, "train: {optim: {monitor_name: loss}}")
