"""How the spec of `ddetr init` trains: from nothing, or from the weights that are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddetr_cli.app import main
from ddetr_cli.spec import Experiment, load_spec
from ddetr_data.synthetic import make_dataset
from ddetr_model import DeformableDETR, ModelConfig, export_huggingface, save_checkpoint

SMALL = {
    "backbone": "timm:test_resnet",
    "hidden_dim": 32,
    "enc_layers": 1,
    "dec_layers": 1,
    "dim_feedforward": 48,
    "num_queries": 9,
    "num_feature_levels": 2,
    "return_interm_indices": (1, 2),
}
DRY = ("dataset.workers=0", "train.accelerator=cpu", "train.is_dry_run=true")


def ddetr(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a small set in data/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))
    counts = {"train": 40, "val": 2, "test": 1}
    make_dataset(tmp_path / "data", num_images=counts, image_size_hw=(48, 64), num_classes=2)
    return tmp_path


def written() -> Experiment:
    loaded = load_spec(Experiment, Path("spec.yaml"))
    assert loaded.notices == ()
    return loaded.spec


def test_a_set_without_weights_learns_from_nothing(folder: Path) -> None:
    """As many epochs as make some thousand updates; a backbone that learns as fast as the rest."""
    assert ddetr("init", "data") == 0
    spec = written()
    assert spec.train.num_epochs == 300  # the most: 40 images are 10 updates
    assert spec.train.optim.lr_backbone == spec.train.optim.lr
    assert spec.train.optim.lr_scheduler == "Cosine"
    assert spec.model.two_stage
    assert spec.train.pretrained_model_path is None


def test_sizes_and_queries_follow_the_objects(tmp_path: Path, folder: Path, capsys) -> None:
    """Objects that are large enough are seen in smaller images; the fullest image has room."""
    make_dataset(
        tmp_path / "large",
        num_images={"train": 4},
        image_size_hw=(600, 800),
        num_classes=2,
        objects=(90, 95),
        object_size=(0.08, 0.1),
    )
    assert ddetr("init", "large") == 0
    spec = written()
    sizes = spec.dataset.augmentation
    assert 256 <= sizes.test_random_resize <= 544
    assert max(sizes.scales) <= sizes.test_random_resize
    assert 100 < spec.model.num_queries <= 150
    labels = tmp_path / "large" / "annotations" / "instances_train.json"
    labels.write_text(labels.read_text("utf-8").replace('"category_id":', '"kind":'))
    capsys.readouterr()
    assert ddetr("init", "large", "--overwrite") == 0
    assert "the sizes in the spec do not follow the objects" in capsys.readouterr().err
    assert written().dataset.augmentation.test_random_resize == 800


@pytest.mark.parametrize("layout", ["ddetr", "huggingface"])
def test_a_detector_is_trained_further(
    layout: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The spec has its architecture, at low rates, and starts with its weights."""
    weights = folder / ("model.pth" if layout == "ddetr" else "exported")
    write = save_checkpoint if layout == "ddetr" else export_huggingface
    fields = SMALL | ({"backbone": "resnet_50"} if layout == "huggingface" else {})
    write(DeformableDETR(ModelConfig(num_classes=7, **fields)), weights)
    assert ddetr("init", "data", "--weights", weights) == 0
    spec = written()
    architecture = spec.model.architecture(num_classes=7)
    assert {name: getattr(architecture, name) for name in fields} == fields
    assert spec.train.pretrained_model_path == weights
    assert spec.train.optim.lr_backbone < spec.train.optim.lr < 5e-4
    assert ddetr("train", "-e", "spec.yaml", *DRY) == 0
    assert "notice: weights: loaded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [("missing.pth", None), ("text.pth", b"no weights"), ("http://x/m.pth", None)],
)
def test_what_is_no_detector_is_refused(
    name: str, content: bytes | None, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence that names it, and no spec."""
    if content:
        (folder / name).write_bytes(content)
    assert ddetr("init", "data", "--weights", name) == 2
    assert Path(name).name in capsys.readouterr().err
    assert not (folder / "spec.yaml").exists()
