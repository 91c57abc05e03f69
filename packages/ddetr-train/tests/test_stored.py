"""Encrypted checkpoints are read as plain ones are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.ops import FrozenBatchNorm2d

from ddetr_data.files import encryption as crypto
from ddetr_model.checkpoints import load_checkpoint
from ddetr_model.config import ModelConfig
from ddetr_model.deformable_detr import DeformableDETR
from ddetr_train.checkpoints import AtomicCheckpointIO, load_model, start_from

KEY = "a passphrase"


@pytest.fixture
def with_norms(model_config: ModelConfig) -> ModelConfig:
    """A model whose backbone has batch norms."""
    return model_config.model_copy(update={"backbone": "timm:test_resnet"})


@pytest.fixture
def twins(run_training, with_norms, tmp_path, monkeypatch) -> tuple[Path, Path]:
    """A fine-tuned checkpoint, whose norms were frozen, and the same one encrypted."""
    monkeypatch.setattr(crypto, "_SCRYPT_LOG2_N", 4)
    start = run_training(model=with_norms, num_epochs=1, results_dir=tmp_path / "start")
    tuned = run_training(
        model=with_norms, num_epochs=1, pretrained_model_path=start.latest_checkpoint
    ).latest_checkpoint
    content = torch.load(tuned, weights_only=True)
    AtomicCheckpointIO(KEY).save_checkpoint(content, tmp_path / "locked.pth")
    return tuned, tmp_path / "locked.pth"


def norms(model: DeformableDETR) -> int:
    return sum(isinstance(module, FrozenBatchNorm2d) for module in model.modules())


def test_an_encrypted_checkpoint_gives_the_model_of_the_plain_one(twins) -> None:
    """All weights, frozen norms without counters included."""
    plain, locked = (path for path in twins)
    left, right = load_checkpoint(plain), load_model(locked, KEY)[0]
    for name, value in left.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, right.state_dict()[name]), name


def test_starting_from_an_encrypted_checkpoint_freezes_as_from_a_plain_one(
    twins, with_norms
) -> None:
    """The backbone counts as pretrained either way."""
    models = [DeformableDETR(with_norms) for _ in twins]
    for model, path in zip(models, twins, strict=True):
        assert "loaded" in start_from(model, path, KEY)
    assert norms(models[0]) == norms(models[1]) > 0


def test_an_encrypted_checkpoint_of_another_architecture_is_refused(twins, with_norms) -> None:
    """As load_pretrained refuses a plain one."""
    wider = DeformableDETR(with_norms.model_copy(update={"hidden_dim": 64}))
    with pytest.raises(ValueError, match="another architecture"):
        start_from(wider, twins[1], KEY)
