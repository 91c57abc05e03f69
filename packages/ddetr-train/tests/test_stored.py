"""Encrypted checkpoints are read as plain ones are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.ops import FrozenBatchNorm2d

from ddetr_data.files import model_source
from ddetr_model import DeformableDETR, ModelConfig, load_checkpoint, load_pretrained
from ddetr_model.weights import COUNTER, read_file
from ddetr_train.checkpoints import AtomicCheckpointIO

KEY = "a passphrase"


@pytest.fixture
def with_norms(model_config: ModelConfig) -> ModelConfig:
    """A model whose backbone has batch norms."""
    return model_config.model_copy(update={"backbone": "timm:test_resnet"})


@pytest.fixture
def twins(run_training, with_norms, tmp_path) -> tuple[Path, Path]:
    """A fine-tuned checkpoint, whose norms were frozen, and the same one encrypted."""
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
    states = []
    for path in twins:
        with model_source(path, KEY) as source:
            states.append(load_checkpoint(source).state_dict())
    for name, value in states[0].items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, states[1][name]), name


def test_starting_from_an_encrypted_checkpoint_freezes_as_from_a_plain_one(
    twins, with_norms
) -> None:
    """The backbone counts as pretrained either way."""
    models = [DeformableDETR(with_norms) for _ in twins]
    for model, path in zip(models, twins, strict=True):
        with model_source(path, KEY) as source:
            assert load_pretrained(model, source).loaded
    assert norms(models[0]) == norms(models[1]) > 0


def test_an_encrypted_checkpoint_of_another_architecture_is_refused(
    twins, with_norms, run_training, tmp_path
) -> None:
    """A run that is to start from it ends in one sentence, as with a plain one."""
    wider = with_norms.model_copy(update={"hidden_dim": 64})
    options = {"encryption_key": KEY, "pretrained_model_path": twins[1]}
    with pytest.raises(ValueError, match=r"locked\.pth is of another architecture"):
        run_training(model=wider, results_dir=tmp_path / "wider", **options)


def test_a_resumed_run_freezes_what_its_checkpoint_had_frozen(
    twins, with_norms, run_training, tmp_path
) -> None:
    """Also where the option that the run began with is left out."""
    for path in twins:
        options = {"results_dir": tmp_path / path.stem, "resume_training_checkpoint_path": path}
        result = run_training(model=with_norms, encryption_key=KEY, num_epochs=2, **options)
        with model_source(result.latest_checkpoint, KEY) as source:
            assert not [n for n in read_file(source)["state_dict"] if n.endswith(COUNTER)]
