"""Where only paths of this machine work, a URL is refused by its key, and no folder comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddetr_cli.app import main
from ddetr_cli.spec import Experiment, SpecError, load_spec, load_tree, parse_spec
from ddetr_data import ConvertConfig

URLS = [
    "s3://b/o",
    "gs://b/o",
    "https://h/o",
    "hdfs://h/o",
    "az://c/o",
    "file:///tmp/o",
    "S3://b",
    "s3:/b/o",
]
URLS += ["simplecache::s3://b/o"]
KEYS = [
    "results_dir",
    *(
        f"{task}.results_dir"
        for task in ("train", "evaluate", "inference", "export", "gen_trt_engine")
    ),
    *(f"{task}.checkpoint" for task in ("evaluate", "inference", "export")),
    *(f"{task}.trt_engine" for task in ("evaluate", "inference", "gen_trt_engine")),
    *(f"{task}.onnx_file" for task in ("export", "gen_trt_engine")),
    "train.pretrained_model_path",
    "train.resume_training_checkpoint_path",
    "model.pretrained_backbone_path",
    "export.calibration_image_dir",
    "export.check_image_dir",
    "gen_trt_engine.timing_cache",
    "gen_trt_engine.tensorrt.calibration.cal_cache_file",
    "gen_trt_engine.tensorrt.calibration.cal_image_dir",
    "dataset.infer_data_sources.image_dir",
    "dataset.infer_data_sources.classmap",
]
FLAT_KEYS = ["results_dir", "mapping_path", "classmap", "data_root"]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("key", KEYS)
def test_no_path_is_a_url(key: str, url: str) -> None:
    """One sentence that names the key and the override; `${...}` hides nothing."""
    # fault 60
    with pytest.raises(SpecError, match=rf"{key}.* must be a path on this machine, got the URL"):
        load_tree(Experiment, parse_spec("", "s.yaml"), [f"{key}={url}"])
    text = f"inference: {{color_map: {{car: '{url}'}}}}"
    reference = "${inference.color_map.car}"
    with pytest.raises(SpecError, match="must be a path on this machine"):
        load_tree(Experiment, parse_spec(text, "s.yaml"), [f"{key}={reference}"])


@pytest.mark.parametrize("key", FLAT_KEYS)
def test_no_path_of_convert_is_a_url(key: str) -> None:
    """Its spec is flat."""
    # fault 60
    with pytest.raises(SpecError, match=rf"{key} must be a path on this machine"):
        load_tree(ConvertConfig, parse_spec("", "s.yaml"), [f"{key}=s3://b/o"])


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_labelled_data_may_lie_anywhere(split: str) -> None:
    """Images and JSON are read through fsspec."""
    sources = "{image_dir: s3://b/images, json_file: [https://h/a.json, 'gs://b/*.json']}"
    tree = parse_spec(f"dataset: {{{split}_data_sources: {sources}}}", "s.yaml")
    spec = load_tree(Experiment, tree).spec
    assert getattr(spec.dataset, f"{split}_data_sources")[0].image_dir == "s3://b/images"


def test_no_folder_comes_of_a_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By options and arguments too."""
    # fault 60
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text("")
    Path("m.pth").write_bytes(b"")
    for words in (
        ["train", "-e", "s.yaml", "-r", "s3://b/o"],
        ["convert", "-e", "s.yaml", "results_dir=s3://b/o"],
        ["import", "m.pth", "-o", "s3://b/o.pth"],
        ["demo", "--folder", "s3://b/o"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        assert "must be a path on this machine, got the URL" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.pth", "s.yaml"]


def test_a_path_with_a_colon_is_a_path(tmp_path: Path) -> None:
    """Only a scheme before a slash makes a URL."""
    path = tmp_path / "s.yaml"
    path.write_text("results_dir: 'run:1/a'\nmodel: {backbone: 'timm:a'}\n")
    assert load_spec(Experiment, path).spec.results_dir == "run:1/a"
