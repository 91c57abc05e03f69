"""Every row of TAO's tables: it works, or one sentence says what to write."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ddetr_cli.app import main
from ddetr_cli.spec import Experiment, SpecError, fate_of, load_spec
from ddetr_cli.tao import (
    KEYS,
    OPTIONS,
    OTHER_KEYS,
    SOURCES,
    SUBTASKS,
    CommandLineError,
    Option,
    adapted,
)
from ddetr_data import ConvertConfig

TASKS = ("convert", "train", "evaluate", "inference", "export", "gen_trt_engine")
WORDS = {
    "value": ["7"],
    "numbers": ["1"],
    "flag": [],
    "key": ["secret"],
    "network": ["deformable_detr"],
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.names[-1])
def test_every_option_works_or_says_what_to_write(option: Option, task: str) -> None:
    """As a key of the subtask, as the passphrase, without effect, or as a sentence."""
    # fault 46
    for name in option.names:
        line = [task, "-e", "s.yaml", name, *WORDS[option.takes], "train.seed=3"]
        if option.instead and task not in option.sets:
            with pytest.raises(CommandLineError, match=re.escape(option.instead)) as caught:
                adapted(line)
            assert name in str(caught.value)
            continue
        found = adapted(line)
        assert [*found.words[:1], *found.words[-3:]] == [task, "-e", "s.yaml", "train.seed=3"]
        keys = found.words[1:-3]
        is_told = bool(keys or found.notices or found.passphrase or option.takes == "network")
        assert is_told
        assert all(key.startswith(option.sets[task]) for key in keys)


@pytest.mark.parametrize(
    ("words", "override"),
    [
        (["-r", "out"], "results_dir=out"),
        (["-rout"], "results_dir=out"),
        (["--results_dir=out"], "results_dir=out"),
        (["-r", "[a]"], 'results_dir="[a]"'),
        (["--gpus", "2"], "train.num_gpus=2"),
        (["--num_gpus=2"], "train.num_gpus=2"),
        (["--gpu_index", "0", "1"], "train.gpu_ids=[0,1]"),
        (["--gpu_ids=0,1"], "train.gpu_ids=[0,1]"),
        (["--num_nodes", "2"], "train.num_nodes=2"),
        (["--use_amp"], "train.precision=fp16"),
    ],
)
def test_an_option_is_a_key(words: list[str], override: str, tmp_path: Path) -> None:
    """Whichever way its value is written; the key takes it."""
    # fault 46
    (tmp_path / "s.yaml").write_text("results_dir: file\n")
    found = adapted(["model", "deformable_detr", "train", *words, "-e", "s.yaml"])
    assert found.words == ["train", override, "-e", "s.yaml"]
    load_spec(Experiment, tmp_path / "s.yaml", found.words[1:2], "train")


def test_a_key_behind_wins_over_an_option(tmp_path: Path) -> None:
    """As it did there: options came first."""
    # fault 46
    (tmp_path / "s.yaml").write_text("")
    words = adapted(["train", "train.num_gpus=3", "--gpus", "2", "-e", "s"]).words
    spec = load_spec(Experiment, tmp_path / "s.yaml", [word for word in words if "=" in word]).spec
    assert spec.train.num_gpus == 3


@pytest.mark.parametrize(
    "other", [each for each in SUBTASKS if not each.read_as], ids=lambda other: other.name
)
def test_every_other_subtask_says_what_to_write(other, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence, exit status 2."""
    # fault 46
    with pytest.raises(SystemExit) as ended:
        main(["model", "deformable_detr", other.name, "-e", "s.yaml"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"ddetr: {other.name} is no subtask here: {other.instead}"


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        ([], ["spec"]),
        (["results_dir=out"], ["spec", "-o", "out/experiment.yaml"]),
        (["-r", "out", "--overwrite"], ["spec", "-o", "out/experiment.yaml", "--overwrite"]),
        (["--results_dir=out", "module_name=a"], ["spec", "-o", "out/experiment.yaml"]),
    ],
)
def test_default_specs_are_our_template(words: list[str], ours: list[str]) -> None:
    """Its folder is the template's; other words are told to have no effect."""
    found = adapted(["model", "deformable_detr", "default_specs", *words])
    assert found.words == ours
    assert len(found.notices) == sum(word.startswith("module_name") for word in words)


@pytest.mark.parametrize("keys", KEYS, ids=lambda keys: f"{keys.version} {keys.block}")
def test_every_key_of_every_version_is_known(keys) -> None:
    """Kept, renamed or without effect."""
    # fault 46
    model = ConvertConfig if keys.block == "convert:" else Experiment
    fates = {key: fate_of(tuple(key.split(".")), model) for key in keys.dotted()}
    assert not {key: fate for key, fate in fates.items() if fate.startswith("unknown")}


@pytest.mark.parametrize("other", OTHER_KEYS, ids=lambda other: other.key)
def test_every_key_that_is_not_ours_is_told_by_its_fate(other) -> None:
    """The table of migrate and the table of the documentation are one."""
    fate = fate_of(tuple(other.key.split(".")), Experiment)
    assert fate.startswith("renamed" if other.becomes else f"without effect: {other.reason}")


def test_every_row_names_its_source() -> None:
    """Repository, version and file."""
    rows = (*OPTIONS, *SUBTASKS, *OTHER_KEYS, *KEYS)
    assert not {row.source for row in rows} - SOURCES.keys()
    assert all(at.repository and at.version and at.file for at in SOURCES.values())


OLDER = [
    ("train", ["output_dir=o"], lambda spec: spec.results_dir, "o"),
    ("export", ["output_file=m.etlt"], lambda spec: spec.export.onnx_file, "m.etlt"),
    (
        "gen_trt_engine",
        ["output_file=m.etlt"],
        lambda spec: spec.gen_trt_engine.onnx_file,
        "m.etlt",
    ),
    ("gen_trt_engine", ["trt_engine=e"], lambda spec: spec.gen_trt_engine.trt_engine, "e"),
    ("evaluate", ["trt_engine=e.engine"], lambda spec: str(spec.evaluate.trt_engine), "e.engine"),
    (
        "gen_trt_engine",
        ["trt_config.data_type=FP16"],
        lambda spec: spec.gen_trt_engine.tensorrt.data_type,
        "FP16",
    ),
    ("train", ["model.precise_msda=true"], lambda spec: spec.train.num_epochs, 10),
]


@pytest.mark.parametrize(("task", "overrides", "value_of", "value"), OLDER)
def test_keys_of_other_versions_mean_what_they_did(
    task: str, overrides: list[str], value_of, value: object, tmp_path: Path
) -> None:
    """As overrides and in a file alike."""
    # fault 46
    (tmp_path / "s.yaml").write_text("")
    assert value_of(load_spec(Experiment, tmp_path / "s.yaml", overrides, task).spec) == value
    key, _, text = overrides[0].partition("=")
    *blocks, name = key.split(".")
    block = f"{name}: {text}"
    for outer in reversed(blocks):
        block = f"{outer}: {{{block}}}"
    (tmp_path / "s.yaml").write_text(block)
    assert value_of(load_spec(Experiment, tmp_path / "s.yaml", [], task).spec) == value


def test_an_override_wins_over_an_older_name_in_the_file(tmp_path: Path) -> None:
    """And the other way round; two of one kind are refused."""
    # fault 46
    path = tmp_path / "s.yaml"
    path.write_text("output_dir: file\ntrt_config: {data_type: FP16, workspace_size: 7}\n")
    overrides = ["results_dir=over", "gen_trt_engine.tensorrt.data_type=INT8"]
    spec = load_spec(Experiment, path, overrides, "export").spec
    assert spec.results_dir == "over"
    assert spec.gen_trt_engine.tensorrt.data_type == "INT8"
    assert spec.gen_trt_engine.tensorrt.workspace_size == 7
    path.write_text("results_dir: file")
    assert load_spec(Experiment, path, ["output_dir=over"]).spec.results_dir == "over"
    path.write_text("results_dir: a\noutput_dir: b")
    with pytest.raises(SpecError, match="two values"):
        load_spec(Experiment, path)


@pytest.mark.parametrize("task", ["evaluate", "inference"])
def test_an_engine_has_a_folder_of_its_own(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """trt_inference/ as notebooks look for it; that of the checkpoint's run is left alone."""
    # fault 47
    path = tmp_path / "s.yaml"
    path.write_text("results_dir: r")
    load = lambda *keys: load_spec(Experiment, path, keys).spec.results_of(task)  # noqa: E731
    assert load(f"{task}.checkpoint=m.onnx") == Path("r", task)
    assert load(f"{task}.trt_engine=m.engine") == Path("r", f"trt_{task}")
    assert load(f"{task}.trt_engine=m.engine", f"{task}.results_dir=own") == Path("own")
    for words, folder in ((["deploy"], f"trt_{task}"), (["model"], task), ([], task)):
        network = ["deformable_detr"] if words else []
        line = [*words, *network, task, "-e", str(path), f"{task}.checkpoint=none.onnx"]
        with pytest.raises(SystemExit):
            main(line)
        assert f"-> {Path('r', folder)}\n" in capsys.readouterr().out
