"""What a training says of where its weights come from, and of what does not train."""
# fault 19

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.ops import FrozenBatchNorm2d

from ddetr_model import DeformableDETR, ModelConfig
from ddetr_model.weights import COUNTER
from ddetr_train.checkpoints import LATEST_NAME
from ddetr_train.config import TrainConfig
from ddetr_train.engine import prepare_training


@pytest.fixture
def with_norms(model_config: ModelConfig) -> ModelConfig:
    """A model whose backbone has batch norms."""
    return model_config.model_copy(update={"backbone": "timm:test_resnet"})


@pytest.fixture
def backbone_file(with_norms, tmp_path) -> str:
    path = tmp_path / "backbone.pth"
    torch.save(DeformableDETR(with_norms).backbone[0].body.state_dict(), path)
    return str(path)


@pytest.fixture
def begin(with_norms, dataset, tmp_path, recorder, caplog):
    """Prepare a training; gives its network and the one notice about its weights."""

    def prepared(model: ModelConfig | DeformableDETR = with_norms, **options: object):
        recorder.events.clear()
        caplog.clear()
        config = TrainConfig.model_validate(
            {"accelerator": "cpu", "activation_checkpoint": False} | options
        )
        training = prepare_training(model, dataset, config, tmp_path / "run", observers=[recorder])
        (notice,) = [e.message for e in recorder.of("notice") if "weights: " in e.message]
        others = [
            e.message
            for e in recorder.of("notice")
            if e.message != notice and not e.is_warning  # of a set of so few images
        ]
        for said in (*others, *caplog.messages):
            assert not any(word in said for word in ("random", "batch norm", "frozen", "loaded"))
        assert training.module is not None
        return training.module.model, notice

    return prepared


def norms(model: torch.nn.Module) -> tuple[int, int]:
    """Count the live and the frozen ones."""
    live = sum(isinstance(each, torch.nn.BatchNorm2d) for each in model.modules())
    return live, sum(isinstance(each, FrozenBatchNorm2d) for each in model.modules())


def test_random_weights(begin) -> None:
    """Everything trains, and norms are live."""
    network, notice = begin()
    live, frozen = norms(network)
    assert frozen == 0
    assert notice == f"weights: random; everything trains, {live} batch norms are live"


def test_a_backbone_file(begin, with_norms, backbone_file) -> None:
    """Its coverage, the rest, and what is frozen with it, in one sentence."""
    model = with_norms.model_copy(update={"pretrained_backbone_path": backbone_file})
    network, notice = begin(model)
    live, frozen = norms(network)
    assert live == 0
    assert notice.startswith("weights: loaded ")
    assert f"tensors of backbone file {backbone_file}; the rest is random; " in notice
    assert notice.endswith(f"do not train, {frozen} batch norms are frozen")


def test_a_whole_model(begin, run_training, with_norms, tmp_path) -> None:
    """Nothing is said of random weights that are then loaded."""
    start = run_training(model=with_norms, num_epochs=1, results_dir=tmp_path / "start")
    network, notice = begin(pretrained_model_path=start.latest_checkpoint)
    assert norms(network)[0] == 0
    assert notice.startswith(f"weights: loaded {len(network.state_dict())} tensors of ") or (
        "tensors of" in notice
    )
    assert "random" not in notice
    assert "batch norms are frozen" in notice


def test_a_network_of_ones_own(begin, with_norms) -> None:
    """It has the weights that it has."""
    _, notice = begin(DeformableDETR(with_norms))
    assert notice.startswith("weights: those of the network that was handed in; everything trains")


def test_freezing_the_backbone_is_training_none_of_it(begin, with_norms) -> None:
    """Both ways freeze the same, statistics included."""
    by_name, first = begin(freeze=["backbone"])
    by_option, second = begin(with_norms.model_copy(update={"train_backbone": False}))
    assert first == second
    assert norms(by_name) == norms(by_option)
    assert norms(by_name)[0] == 0
    assert first.startswith("weights: random; backbone do not train, ")
    both = begin(with_norms.model_copy(update={"train_backbone": False}), freeze=["backbone"])
    assert both[1] == first
    trained = [
        {name for name, value in model.named_parameters() if value.requires_grad}
        for model in (by_name, by_option)
    ]
    assert trained[0] == trained[1]


def test_frozen_means_that_no_tensor_moves(run_training, with_norms, tmp_path) -> None:
    """Neither weights nor statistics, over a stop between two epochs."""
    first = run_training(model=with_norms, freeze=["backbone"], num_epochs=1)
    second = run_training(model=with_norms, freeze=["backbone"], num_epochs=2)
    paths = (first.latest_checkpoint.with_name("model_epoch_000.pth"), second.latest_checkpoint)
    before, after = (torch.load(path, weights_only=True)["state_dict"] for path in paths)
    still = [name for name in before if name.startswith("model.backbone")]
    assert still
    assert all(torch.equal(before[name], after[name]) for name in still)


def test_a_part_of_the_backbone(begin, run_training, with_norms, recorder) -> None:
    """Its norms are frozen, the others live, also after a resume."""
    part = "backbone.0.body.layer1"
    network, notice = begin(freeze=[part])
    live, frozen = norms(network)
    assert live > 0 < frozen
    assert f"{part} do not train, {live} batch norms are live, {frozen} batch norms" in notice
    run_training(model=with_norms, freeze=[part], num_epochs=1)
    resumed, notice = begin(freeze=[part], num_epochs=2)
    assert norms(resumed) == (live, frozen)
    assert f"{part} do not train, {live} batch norms are live" in notice


def test_freezing_nothing_is_seen(begin) -> None:
    """A module without weights changes nothing, and the notice says that everything trains."""
    _, notice = begin(freeze=["backbone.1"])
    assert "train.freeze backbone.1 freezes nothing" in notice
    assert "everything trains" in notice


def test_a_resume_says_which_files_are_not_read(
    begin, run_training, with_norms, backbone_file, tmp_path, recorder
) -> None:
    """Weights are the checkpoint's, whatever the spec names; the record keeps where they began."""
    run_training(model=with_norms, num_epochs=1)
    path = tmp_path / "run" / LATEST_NAME
    _, notice = begin(num_epochs=2)
    assert notice.startswith(f"weights: those of {path}; everything trains, ")
    model = with_norms.model_copy(update={"pretrained_backbone_path": backbone_file})
    network, notice = begin(model, num_epochs=2, pretrained_model_path=path)
    assert norms(network)[1] == 0
    assert (
        f"those of {path} (not train.pretrained_model_path {path} or "
        f"model.pretrained_backbone_path {backbone_file}); everything trains"
    ) in notice
    assert network.config.pretrained_backbone_path is None


def test_a_resumed_fine_tuning_without_its_options(
    begin, run_training, with_norms, backbone_file, tmp_path
) -> None:
    """What was frozen stays frozen and the record keeps the file, though the key is left out."""
    model = with_norms.model_copy(update={"pretrained_backbone_path": backbone_file})
    run_training(model=model, num_epochs=1)
    run_training(model=with_norms, num_epochs=2)
    network, notice = begin(num_epochs=3)
    assert norms(network)[0] == 0
    assert "batch norms are frozen" in notice
    saved = torch.load(tmp_path / "run" / LATEST_NAME, weights_only=True)
    assert saved["ddetr"]["model"]["pretrained_backbone_path"] == backbone_file


def test_norms_that_moved_in_an_older_run_are_told(
    begin, run_training, with_norms, tmp_path
) -> None:
    """The first versions froze no statistics by name; such a run goes on with frozen ones."""
    run_training(model=with_norms, freeze=["backbone"], num_epochs=1)
    path = tmp_path / "run" / LATEST_NAME
    saved = torch.load(path, weights_only=True)
    means = [name for name in saved["state_dict"] if name.endswith("running_mean")]
    for name in means:
        counter = name.replace(".running_mean", COUNTER)
        saved["state_dict"][counter] = torch.tensor(5)
    torch.save(saved, path)
    _, notice = begin(freeze=["backbone"], num_epochs=2)
    assert f"{len(means)} batch norms of train.freeze moved so far" in notice
    run_training(model=with_norms, freeze=["backbone"], num_epochs=2)


def test_fp16_on_a_processor_is_recorded_as_what_it_is(run_training, recorder, tmp_path) -> None:
    """bf16 ran, so bf16 is what the checkpoint says; the next start tells no change."""
    run_training(num_epochs=1, precision="fp16")
    path: Path = tmp_path / "run" / LATEST_NAME
    options = torch.load(path, weights_only=True)["hyper_parameters"]["train"]
    assert options["precision"] == "bf16"
    recorder.events.clear()
    run_training(num_epochs=2, precision="fp16")
    assert "from here on" not in recorder.text()
