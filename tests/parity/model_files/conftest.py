"""Model files of every kind, plain and encrypted, made of one tiny training."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from ddetr_cli.app import main
from ddetr_data.config import AugmentationConfig, DatasetConfig, DataSource
from ddetr_data.files import encrypting
from ddetr_data.synthetic import make_dataset
from ddetr_model import (
    DeformableDETR,
    ModelConfig,
    export_huggingface,
    load_checkpoint,
    metadata_dict,
)
from ddetr_train import TrainConfig
from ddetr_train.engine import PreparedTraining, prepare_training

KEY = "a passphrase"
CHEAP = 4  # log2 of scrypt's n: the passphrase guards nothing here
LOCKED = ".locked"  # at the end of an encrypted file's name in the table
KEY_VARIABLE = "DDETR_ENCRYPTION_KEY"
GATE = "transformer.decoder.layers.0.gate"  # what a changed decoder has
SIZES: dict[str, Any] = {
    "num_classes": 3,
    "train_backbone": False,  # frozen norms: no epoch moves their statistics
    "num_feature_levels": 2,
    "return_interm_indices": (1, 2),
    "hidden_dim": 32,
    "enc_layers": 1,
    "dec_layers": 2,
    "dim_feedforward": 32,
    "num_queries": 6,
}
# Four heads of eight points have tensors of the shapes of eight heads of four.
FOUR_HEADS = {"nheads": 4, "enc_n_points": 8, "dec_n_points": 8}
OPTIONS: dict[str, Any] = {
    "accelerator": "cpu",
    "activation_checkpoint": False,
    "optim": {"lr": 1e-12, "lr_backbone": 0, "lr_linear_proj_mult": 1e-3},
}


@dataclass(frozen=True)
class Project:
    """Tiny data, a spec of them, and model files by name."""

    folder: Path
    model: ModelConfig
    dataset: DatasetConfig
    weights: dict[str, Tensor]  # of what the first training left
    gate: str = GATE

    @property
    def four_heads(self) -> ModelConfig:
        """A model whose tensors have the shapes of this one's."""
        return self.model.model_copy(update=FOUR_HEADS)

    def key(self, name: str) -> str | None:
        """Give the passphrase of the files that have one."""
        return KEY if name.endswith(LOCKED) else None

    def file(self, name: str) -> Path:
        """Find a file of the table; the folder is that of transformers."""
        if name == "folder":
            return self.folder / "files" / "transformers"
        (path,) = (self.folder / "files" / name).glob("model.*")
        return path

    def training(self, name: str, option: str, **other: Any) -> Started:
        """Prepare a training that starts or goes on from a file; others are its model and key."""
        told: list[str] = []
        training = prepare_training(
            other.get("model", self.model),
            self.dataset,
            TrainConfig.model_validate(OPTIONS | {"num_epochs": 2, option: self.file(name)}),
            self.folder / "runs" / f"{option}-{name}",
            observers=[lambda event: told.append(event.message)],
            encryption_key=other.get("key", self.key(name)),
        )
        return Started(training, "\n".join(told))

    def write(self, name: str, contents: dict[str, Any]) -> tuple[Path, Path]:
        """Write a file and its encrypted twin."""
        save(self.folder / name, contents)
        lock(self.folder / name)
        return tuple(self.folder / f"{name}{ending}" / "model.pth" for ending in ("", LOCKED))


@dataclass(frozen=True)
class Started:
    """A training that is ready, and what was told until then."""

    training: PreparedTraining
    told: str

    @property
    def weights(self) -> dict[str, Tensor]:
        assert self.training.module is not None
        return self.training.module.model.state_dict()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Train for one epoch on a narrow backbone of ResNet-50's names, and write all files."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.models, "resnet50", narrow_resnet)
        patch.setenv("DDETR_CACHE", str(folder / "cache"))
        patch.delenv(KEY_VARIABLE, raising=False)
        yield build(folder)
    torch.set_num_threads(threads)


def narrow_resnet(**options: Any) -> torchvision.models.ResNet:
    """The third stage's six blocks tell that it is a ResNet-50; the bottlenecks are very narrow."""
    block = torchvision.models.resnet.Bottleneck
    return torchvision.models.ResNet(block, [1, 1, 6, 1], width_per_group=1, **options)


def build(folder: Path) -> Project:
    data = make_dataset(
        folder / "data", num_images={"train": 2}, image_size_hw=(64, 64), num_classes=2
    )
    source = DataSource(
        image_dir=str(data.image_dirs["train"]), json_file=str(data.json_files["train"])
    )
    augmentation = {"scales": [64], "train_random_resize": [64], "test_random_resize": 64}
    crop = {"train_random_crop_min": 48, "train_random_crop_max": 64, "random_resize_max_size": 64}
    dataset = DatasetConfig(
        train_data_sources=(source,),
        test_data_sources=(source,),
        num_classes=3,
        batch_size=2,
        workers=0,
        augmentation=AugmentationConfig.model_validate(augmentation | crop),
    )
    config = TrainConfig.model_validate(OPTIONS | {"num_epochs": 1})
    model = ModelConfig(**SIZES)
    training = prepare_training(model, dataset, config, folder / "first")
    latest = training.run().latest_checkpoint
    assert latest is not None
    project = Project(folder, model, dataset, load_checkpoint(latest).state_dict())
    write_spec(project)
    write_files(project, torch.load(latest, weights_only=True))
    return project


def write_spec(project: Project) -> None:
    """Write what evaluate, inference and export need beside their checkpoint."""
    (source,) = project.dataset.test_data_sources
    labelled = {"image_dir": source.image_dir, "json_file": source.json_file}
    size = {"input_height": 64, "input_width": 64}
    spec = {
        "dataset": {
            "test_data_sources": [labelled],
            "infer_data_sources": {"image_dir": source.image_dir},
            "num_classes": 3,
            "workers": 0,
        },
        "evaluate": size,
        "inference": size,
        "export": size | {"score_images": 0},
    }
    (project.folder / "spec.yaml").write_text(json.dumps(spec))  # JSON is YAML too


def write_files(project: Project, contents: dict[str, Any]) -> None:
    """Write each file of the table, and its encrypted twin."""
    folder, weights, config = project.folder / "files", project.weights, project.model
    # What the published command line says of a model, and one word of ours.
    args = argparse.Namespace(nheads=8, padding_invariant=True)
    gated = weights | {GATE: torch.ones(3)}
    queries = weights["query_embed.weight"]
    trained = {
        "ours": weights,
        "gate": gated,
        "less": {n: value for n, value in weights.items() if n != "query_embed.weight"},
        "nan": weights | {"query_embed.weight": queries * torch.nan},
        "misshapen": weights | {"query_embed.weight": queries[:, :9]},
    }
    for name, state in trained.items():
        prefixed = {f"model.{each}": value for each, value in state.items()}
        save(folder / name, contents | {"state_dict": prefixed})
    tao = {f"model.model.{name}": value for name, value in weights.items()}
    save(folder / "tao", {"state_dict": tao, "args": args, "epoch": 9})
    save(folder / "published", {"model": weights, "args": args})
    save(folder / "gate-published", {"model": gated, "args": args})
    for name, state in (("safetensors", weights), ("gate-safetensors", gated)):
        (folder / name).mkdir()
        apart = {each: value.clone() for each, value in state.items()}  # no tensor under two names
        save_file(apart, folder / name / "model.safetensors")
    export_huggingface(load_checkpoint(folder / "ours" / "model.pth"), folder / "transformers")
    for name, changes in (("four-heads", FOUR_HEADS), ("one-box-head", {"with_box_refine": False})):
        torch.manual_seed(1)
        other = DeformableDETR(config.model_copy(update=changes)).state_dict()
        metadata = metadata_dict(config.model_copy(update=changes))
        heads = argparse.Namespace(nheads=changes.get("nheads", 8))
        save(folder / name, {"state_dict": other, "ddetr": metadata})
        save(folder / f"{name}-published", {"model": other, "args": heads})
    whole = (folder / "ours" / "model.pth").read_bytes()
    for name, data in (("cut", whole[: len(whole) // 2]), ("garbage", b"no checkpoint at all")):
        (folder / name).mkdir()
        (folder / name / "model.pth").write_bytes(data)
    for path in list(folder.iterdir()):
        lock(path)


def save(folder: Path, contents: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    torch.save(contents, folder / "model.pth")


def lock(folder: Path) -> None:
    """Encrypt the model of a folder; what stands beside it stays in clear."""
    locked = folder.with_name(f"{folder.name}{LOCKED}")
    shutil.copytree(folder, locked)
    for path in locked.glob("model.*"):
        with path.open("wb") as file, encrypting(file, KEY, scrypt_log2_n=CHEAP) as writer:
            writer.write((folder / path.name).read_bytes())


@pytest.fixture
def ddetr(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Callable[..., tuple[int, str]]:
    """Give a function that runs a door's command on a file: (exit status, what was said)."""

    def run(door: str, name: str, *options: str, **other: Any) -> tuple[int, str]:
        key = other.get("key", project.key(name))
        if key is not None:
            monkeypatch.setenv(KEY_VARIABLE, key)
        path, target = project.file(name), tmp_path / "target"
        arguments = ["import", str(path), "-o", str(target / "imported.pth")]
        if door != "import":
            arguments = [door, "-e", str(project.folder / "spec.yaml"), f"results_dir={target}"]
            arguments += [f"{door}.checkpoint={path}", f"export.onnx_file={target}/model.onnx"]
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *options])
        shown = capsys.readouterr()
        return int(ended.value.code or 0), " ".join((shown.err + shown.out).split())

    return run
