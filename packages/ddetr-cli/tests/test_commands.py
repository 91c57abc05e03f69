"""The commands that only look and tell: migrate, check, summary, import, doctor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ddetr_cli.app import main
from ddetr_cli.running import run_command
from ddetr_data.synthetic import make_dataset


def ddetr(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_migration_tells_the_fate_of_every_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kept, renamed, without effect, unknown with the nearest; unknown keys give 2."""
    spec = tmp_path / "old.yaml"
    spec.write_text(
        "model: {pretrained_model_path: a, num_classes: 3}\n"
        "train: {optim: {lr: 1, monitor_name: val_loss}, num_epoch: 3}\n"
        "dataset: {test_data_sources: {image_dir: a, json_file: b}}\n"
        "inference: {color_map: {car: red}}\n"
        "export: {gpu_id: 0}\n"
    )
    assert ddetr("migrate", "-e", str(spec)) == 2
    fates = {
        line.split()[0]: " ".join(line.split()[2:])
        for line in capsys.readouterr().out.splitlines()
        if "old.yaml:" in line
    }
    assert len(fates) == 9
    assert fates["train.optim.lr"] == fates["inference.color_map.car"] == "kept"
    assert fates["dataset.test_data_sources.image_dir"] == "kept"
    assert fates["model.pretrained_model_path"].startswith("renamed: model.pretrained_backbone")
    assert fates["train.optim.monitor_name"].startswith("renamed: train.optim.lr_monitor")
    assert fates["export.gpu_id"].startswith("without effect")
    assert fates["train.num_epoch"] == "unknown; perhaps train.num_epochs"
    assert fates["model.num_classes"] == "unknown; perhaps dataset.num_classes"


def test_migration_knows_older_keys_and_tells_bad_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key without effect comes with its reason, a value that nothing takes with its line."""
    spec = tmp_path / "old.yaml"
    spec.write_text("wandb: {enable: true}\ndataset: {batch_size: -1}\n")
    assert ddetr("migrate", "-e", str(spec)) == 0
    assert "without effect: train.loggers=[wandb]" in capsys.readouterr().out
    spec.write_text("wandb: {enable: true}\ntrain: {num_epochs: 0}\n")
    assert ddetr("migrate", "-e", str(spec)) == 2
    assert "train.num_epochs must be greater than 0" in capsys.readouterr().err


def test_migration_reads_the_flat_spec_of_convert(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its keys are not looked for among the blocks."""
    spec = tmp_path / "convert.yaml"
    spec.write_text("input_source: a.txt\nresults_dir: out\nnum_shards: 4\n")
    assert ddetr("migrate", "-e", str(spec)) == 0
    assert "3 keys, 0 of them unknown" in capsys.readouterr().out


@pytest.fixture
def data_spec(tmp_path: Path) -> Path:
    """A spec of a small drawn set."""
    make_dataset(tmp_path / "data", num_images={"train": 3}, image_size_hw=(64, 64), num_classes=2)
    spec = tmp_path / "spec.yaml"
    source = f"{{image_dir: {tmp_path}/data/images/train, json_file: {tmp_path}/data/annotations}}"
    spec.write_text(f"dataset: {{train_data_sources: [{source}], num_classes: 3, workers: 1}}\n")
    return spec


def test_clean_data_have_no_findings(data_spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0 and the counts."""
    assert ddetr("check", "-e", str(data_spec)) == 0
    assert "3 images" in capsys.readouterr().out


def test_faults_are_listed_with_file_and_line(
    data_spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing image is an error, in the table and in the JSON file."""
    next((tmp_path / "data" / "images" / "train").glob("*.jpg")).unlink()
    findings = tmp_path / "findings.json"
    assert ddetr("check", "-e", str(data_spec), "--json", str(findings)) == 2
    assert "error" in capsys.readouterr().out
    assert json.loads(findings.read_text())["exit_status"] == 2


def labelled_set(tmp_path: Path) -> tuple[str, ...]:
    """The options that name the drawn set without its spec."""
    data = tmp_path / "data"
    return ("--images", f"{data}/images/train", "--annotations", f"{data}/annotations")


def test_a_set_is_checked_without_a_spec(
    data_spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images and annotations are enough, and the limits of a model can be given beside them."""
    assert ddetr("check", *labelled_set(tmp_path)) == 0
    assert "3 images" in capsys.readouterr().out
    assert ddetr("check", *labelled_set(tmp_path), "--num-classes", "2") == 2
    assert "category_beyond_model" in capsys.readouterr().out


def test_files_that_a_shell_made_of_a_glob_are_all_checked(
    data_spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--annotations a.json b.json is two files, whichever way they are written."""
    options = list(labelled_set(tmp_path))
    first = next(Path(options[3]).glob("*.json"))
    other = tmp_path / "other.json"
    other.write_bytes(first.read_bytes())
    for files in ([str(first), str(other)], [str(first), "--annotations", str(other)]):
        assert ddetr("check", *options[:3], *files) == 1
        assert "clashing_image_ids" in capsys.readouterr().out


def test_kitti_labels_are_checked_without_a_spec(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of label texts; a mapping that names none of their classes is an error."""
    # fault 26
    made = make_dataset(tmp_path, num_images={"train": 2}, image_size_hw=(64, 64), num_classes=2)
    labels = tmp_path / "kitti" / "train" / "label_2"
    options = ("--images", str(made.image_dirs["train"]), "--annotations", str(labels))
    assert ddetr("check", *options) == 0
    (tmp_path / "map.json").write_text('{"nothing": "nothing"}')
    capsys.readouterr()
    assert ddetr("check", *options, "--mapping", str(tmp_path / "map.json")) == 2
    found = capsys.readouterr().out
    assert "unmapped_class" in found
    assert "no object is left" in found


def test_the_labels_of_a_conversion_are_checked_by_its_spec(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `convert` would refuse, as it drops all, is an error, and nothing is written."""
    # fault 26
    make_dataset(tmp_path, num_images={"train": 2}, image_size_hw=(64, 64), num_classes=2)
    spec = tmp_path / "convert.yaml"
    folders = "image_dir_name: ../../images/train\nlabel_dir_name: label_2\n"
    spec.write_text(f"input_source: {tmp_path}/kitti/train\n{folders}results_dir: {tmp_path}/out\n")
    assert ddetr("check", "-e", str(spec)) == 2
    assert "unmapped_class" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert ddetr("check", "-e", str(spec), f"input_source={tmp_path}/none.txt") == 2
    assert "none.txt is missing" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["before", "after"])
def test_findings_can_be_read_from_standard_output(
    data_spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """One JSON text with --json -; JSON lines with --json alone, wherever it stands."""
    (tmp_path / "data" / "images" / "train" / "000000.jpg").write_bytes(b"")
    ways = [("-e", str(data_spec)), labelled_set(tmp_path)]
    for way in ways:
        arguments = ("--json", *way) if where == "before" else (*way, "--json")
        assert ddetr("check", *arguments) == 2
        *_, last = capsys.readouterr().out.splitlines()
        assert ddetr("check", *way, "--json", "-") == 2
        for text in (last, capsys.readouterr().out):
            of_training = ("fewer_images_than_batch", "box_below_stride")
            findings = [
                one for one in json.loads(text)["findings"] if one["fault"] not in of_training
            ]
            assert [(one["fault"], one["count"]) for one in findings] == [("unreadable_image", 1)]
            assert "000000.jpg" in findings[0]["places"][0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "nothing to check; give -e SPEC.YAML, or --images DIR --annotations FILE"),
        (("--images", "a"), "--annotations FILE is missing"),
        (("--annotations", "a"), "--images DIR is missing"),
        (("--num-classes", "3"), "--images DIR is missing"),
        (("-e", "spec.yaml", "--images", "a"), "give one of the two"),
        (("-e", "spec.yaml", "--num-queries", "3"), "give one of the two"),
        (("--images", "a", "--annotations", "b", "dataset.workers=2"), "add -e SPEC.YAML"),
        (("--images", "a", "--annotations", "b", "--json", "no/where.json"), "does not exist"),
        (("--images", "a", "--annotations", "b", "--mapping", "map.json"), "map.json is missing"),
    ],
)
def test_what_to_check_is_named_in_one_way(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A spec, or a set: anything else is one sentence and exit status 2."""
    assert ddetr("check", *arguments) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_findings_that_a_full_disk_does_not_take_are_a_sentence(
    data_spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is named; the status is no worse than that of wrong data."""
    assert ddetr("check", "-e", str(data_spec), "--json", "/dev/full") == 2
    assert "/dev/full: No space left on device" in capsys.readouterr().err


def test_a_set_that_is_not_there_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong paths are reported as faults are, with exit status 2."""
    assert ddetr("check", "--images", "no/images", "--annotations", "no.json") == 2
    out = capsys.readouterr().out
    assert "missing_folder" in out
    assert "unusable_json" in out


def test_a_spec_without_labelled_data_has_nothing_to_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence with the key to set."""
    (tmp_path / "spec.yaml").write_text("")
    assert ddetr("check", "-e", str(tmp_path / "spec.yaml")) == 2
    assert "dataset.train_data_sources" in capsys.readouterr().err


@pytest.mark.slow
def test_a_summary_counts_by_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Parameters and operations of the spec's own model."""
    (tmp_path / "spec.yaml").write_text("model: {hidden_dim: 32, nheads: 2, enc_layers: 1}")
    options = ["--height", "128", "--width", "128", "model.dec_layers=1"]
    assert ddetr("summary", "-e", str(tmp_path / "spec.yaml"), *options) == 0
    assert "transformer.encoder" in capsys.readouterr().out


@pytest.mark.slow
def test_the_doctor_shows_versions_and_tests_the_kernels(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every package of ours is in the table."""
    assert ddetr("doctor") == 0
    out = capsys.readouterr().out
    assert "ddetr-export" in out
    assert "GPUs" in out
    assert "The versions fit together." in out


def test_a_fault_of_the_program_is_not_dressed_up() -> None:
    """Without a results folder the traceback belongs on the screen; Ctrl+C is still 130."""

    def fail(_: object) -> int:
        raise RuntimeError("odd")

    def stop(_: object) -> int:
        raise KeyboardInterrupt

    with pytest.raises(RuntimeError, match="odd"):
        run_command(fail)
    assert run_command(stop) == 130
