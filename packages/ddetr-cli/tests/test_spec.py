"""The experiment: defaults, aliases, folders, and what experiment.yaml keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ddetr_cli.spec import Experiment, SpecError, load_spec, spec_yaml

Load = Callable[..., Experiment]


def test_override_beats_file_beats_default(load: Load) -> None:
    """The three sources of a value, in this order."""
    text = "train: {num_epochs: 3, seed: 5}"
    train = load(text, ["train.num_epochs=4"]).train
    assert (train.num_epochs, train.seed, train.checkpoint_interval) == (4, 5, 1)


@pytest.mark.parametrize("task", ["train", "evaluate", "inference", "export"])
def test_the_results_folder_of_a_subtask(load: Load, task: str) -> None:
    """<task>.results_dir, else <results_dir>/<task>, else /results/<task>."""
    assert load().results_of(task) == Path("/results", task)
    assert load("results_dir: /r").results_of(task) == Path("/r", task)
    assert load(f"results_dir: /r\n{task}: {{results_dir: /own}}").results_of(task) == Path("/own")


def test_the_model_takes_its_classes_from_the_data(load: Load) -> None:
    """dataset.num_classes decides; 91 stands until auto is looked up."""
    assert load("dataset: {num_classes: 7}").model.num_classes == 7
    assert load("dataset: {num_classes: auto}").model.num_classes == 91


def test_the_old_name_of_the_backbone_file_is_accepted_and_said(tmp_path: Path) -> None:
    """model.pretrained_model_path loads, with a notice that tells both other names."""
    path = tmp_path / "spec.yaml"
    path.write_text("model:\n  pretrained_model_path: /b.pth\n")
    loaded = load_spec(Experiment, path)
    assert loaded.spec.model.pretrained_backbone_path == "/b.pth"
    (notice,) = loaded.notices
    assert "model.pretrained_backbone_path" in notice
    assert "spec.yaml:2" in notice
    path.write_text("model: {pretrained_backbone_path: /b.pth}")
    assert load_spec(Experiment, path).notices == ()


@pytest.mark.parametrize("block", ["model", "train", "dataset", "inference", "gen_trt_engine"])
def test_an_empty_block_is_its_defaults(load: Load, block: str) -> None:
    """`train:` with nothing below it is no error."""
    assert getattr(load(f"{block}:\n"), block) == getattr(load(), block)


def test_a_value_still_to_be_given_counts_as_absent(load: Load) -> None:
    """The mark ??? in a spec waits for an override."""
    text = "evaluate:\n  checkpoint: ???"
    assert load(text).evaluate.checkpoint is None
    assert load(text, ["evaluate.checkpoint=/m.pth"]).evaluate.checkpoint == Path("/m.pth")


def test_the_model_block_is_its_owners_parts(load: Load) -> None:
    """Each part holds its own keys of the block; none is lost, none is in two."""
    block = load("dataset: {num_classes: 7}\nmodel: {hidden_dim: 64, focal_alpha: 0.5}").model
    parts = {**dict(block.architecture()), **dict(block.losses())}
    assert (block.architecture().num_classes, parts["hidden_dim"], parts["focal_alpha"]) == (
        7,
        64,
        0.5,
    )
    optimizer = {"backbone_names", "linear_proj_names", "clip_max_norm"}
    assert parts.keys() | optimizer == dict(block).keys()
    assert not dict(block.architecture()).keys() & dict(block.losses()).keys()


def test_the_optimiser_is_told_what_the_model_block_says(load: Load) -> None:
    """Name parts, and a gradient limit where train has none of its own."""
    text = "model: {backbone_names: [body], linear_proj_names: [offsets], clip_max_norm: 0.5}"
    train = load(text).train
    assert (train.optim.backbone_names, train.optim.linear_proj_names) == (("body",), ("offsets",))
    assert train.clip_grad_norm == 0.5
    assert load(f"{text}\ntrain: {{clip_grad_norm: 0.1}}").train.clip_grad_norm == 0.1
    assert load().train.clip_grad_norm == 0.1


def test_the_name_parts_have_one_key(load: Load) -> None:
    """The optimiser's own field is no key of a spec, and stands in no written one."""
    with pytest.raises(SpecError, match=r"unknown key train\.optim\.backbone_names \(spec\.yaml:1"):
        load("train: {optim: {backbone_names: [body]}}")
    assert spec_yaml(load()).count("backbone_names") == 1


SPECS = [
    "model: {backbone_names: [body], clip_max_norm: 0.5, loss_types: [boxes], denoising_groups: 2}",
    "",
    "dataset: {num_classes: 4}\nmodel: {num_queries: 10}",
    "dataset: {num_classes: auto, infer_data_sources: {image_dir: [a, b]}}",
    "model: {pretrained_model_path: /b.pth, return_interm_indices: [1, 2], num_feature_levels: 2}",
    "inference: {color_map: {'1': red, 'null': '#00f', 'a b': blue}}\nresults_dir: '0123'",
    "train: {optim: {lr: 1e-5, monitor_name: train_loss}, freeze: [backbone]}",
    "gen_trt_engine: {tensorrt: {data_type: int8, calibration: {cal_image_dir: /c}}}",
]


@pytest.mark.parametrize("text", SPECS)
def test_experiment_yaml_loads_to_the_same_experiment(load: Load, text: str) -> None:
    """What a run writes down is what it ran with, key for key."""
    experiment = load(text)
    assert load(spec_yaml(experiment)) == experiment


def test_the_passphrase_is_written_nowhere(load: Load) -> None:
    """The dump and the representation mask it."""
    experiment = load("encryption_key: open sesame")
    assert "sesame" not in spec_yaml(experiment)
    assert "sesame" not in repr(experiment)


def test_a_masked_passphrase_is_no_passphrase(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reloading a dump takes the key from the environment or an override, and says so if none."""
    dump = spec_yaml(load("encryption_key: open sesame"))
    with pytest.raises(SpecError, match=r"encryption_key is masked.*DDETR_ENCRYPTION_KEY"):
        load(dump)
    again = load(dump, ["encryption_key=open sesame"])
    monkeypatch.setenv("DDETR_ENCRYPTION_KEY", "open sesame")
    assert load(dump) == again
    assert load("").encryption_key == again.encryption_key


def test_the_spec_outranks_the_environment(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable fills a gap; it does not replace what was written."""
    monkeypatch.setenv("DDETR_ENCRYPTION_KEY", "other")
    key = load("encryption_key: mine").encryption_key
    assert key is not None
    assert key.get_secret_value() == "mine"


def test_the_home_folder_is_found_and_other_variables_are_refused(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No folder called ~ or $HOME is made below the current one."""
    monkeypatch.setenv("HOME", "/home/me")
    experiment = load("results_dir: ~/runs\ntrain: {pretrained_model_path: ~/a.pth}")
    assert experiment.results_dir == "/home/me/runs"
    assert str(experiment.train.pretrained_model_path) == "/home/me/a.pth"
    for text in ("results_dir: $HOME/runs", "dataset: {infer_data_sources: {image_dir: [$DATA]}}"):
        with pytest.raises(SpecError, match=r"the environment is not read, so \$\w+ stays"):
            load(text)
    assert load("", ["encryption_key=$ecret"]).passphrase == "$ecret"


def test_null_leaves_the_default_of_everything_that_has_no_null(load: Load) -> None:
    """A name, a list, a map, a number, a choice, a block: nothing is given there."""
    # fault 48
    text = "results_dir:\ntrain: {freeze: null}\ninference: {color_map: null}"
    assert load(text) == load("")
    for key in ("train.num_epochs", "train.verbose", "train.precision", "dataset.num_classes"):
        assert load("", [f"{key}=null"]) == load("")
        assert load("", [f"{key}="]) == load("")


@pytest.mark.parametrize("key", ["train.num_epochs", "train.optim.lr", "dataset.batch_size"])
def test_true_is_no_number(key: str, load: Load) -> None:
    """`num_epochs: yes` is not one epoch."""
    with pytest.raises(SpecError, match=rf"{key} must be a .*number, got 'yes'"):
        load("", [f"{key}=yes"])


def test_what_counts_in_an_evaluation_counts_in_every_score(load: Load) -> None:
    """evaluate.max_detections is train's and export's too, which no spec may hold."""
    # fault 23
    spec = load("evaluate: {max_detections: 300}")
    assert spec.evaluate.max_detections == 300
    assert spec.train.max_detections == spec.export.max_detections == 300
    assert spec_yaml(spec).count("max_detections") == 1
    assert load().train.max_detections == load().export.max_detections == 100
    for block in ("train", "export"):
        with pytest.raises(SpecError, match=f"{block}.max_detections"):
            load(f"{block}: {{max_detections: 300}}")
    with pytest.raises(SpecError, match=r"evaluate\.max_detections") as refused:
        load("evaluate: {max_detections: 0}")
    assert "train" not in str(refused.value)
