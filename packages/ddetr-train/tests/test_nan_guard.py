"""A number that is not finite ends the run with evidence."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ddetr_model import DeformableDETR, ModelConfig, SetCriterion
from ddetr_train.data import DetectionDataModule
from ddetr_train.nan import MAX_SKIPPED_UPDATES, NanGuard, NonFiniteError, first_non_finite, replay


def poison(module: nn.Module, name: str, at_call: int) -> None:
    """Make the named module return NaN at its n-th call."""
    calls = []

    def hook(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor | None:
        calls.append(name)
        return output * math.nan if len(calls) >= at_call else None

    module.get_submodule(name).register_forward_hook(hook)


@pytest.fixture
def poisoned(model_config):
    """Build a network one of whose modules will give NaN."""

    def build(name: str, at_call: int = 3, model: ModelConfig = model_config) -> DeformableDETR:
        network = DeformableDETR(model)
        poison(network, name, at_call)
        return network

    return build


def test_the_first_bad_module_is_named(run_training, poisoned, tmp_path) -> None:
    """Modules after it are bad too, but only the first is blamed; nothing bad is saved."""
    network = poisoned("input_proj.1.0")
    with pytest.raises(NonFiniteError, match=r"epoch 0, batch 2: the output of input_proj\.1\.0"):
        run_training(model=network, activation_checkpoint=False)
    assert list((tmp_path / "run").glob("*.pth")) == []


def test_the_step_can_be_replayed(run_training, poisoned) -> None:
    """The file holds batch, weights and seed; without the fault the step is finite."""
    network = poisoned("transformer.encoder.layers.0.linear2")
    with pytest.raises(NonFiniteError) as stop:
        run_training(model=network)
    again = replay(stop.value.evidence)
    assert math.isfinite(again.loss)
    assert again.first_bad is None
    assert replay(stop.value.evidence) == again
    assert again.first_bad_in_run == "the output of transformer.encoder.layers.0.linear2"
    assert (again.epoch, again.batch_idx, len(again.images)) == (0, 2, 2)


def test_a_fault_in_the_weights_shows_again(run_training, model_config) -> None:
    """What does not go away in fp32 is named by the replay too."""
    network = DeformableDETR(model_config)
    with torch.no_grad():
        network.input_proj[0][0].weight[0] = math.inf
    with pytest.raises(NonFiniteError, match=r"the weight input_proj\.0\.0\.weight") as stop:
        run_training(model=network)
    assert replay(stop.value.evidence).first_bad == "the weight input_proj.0.0.weight"


def test_a_fine_tuning_is_replayed_with_its_norms_frozen(
    run_training, model_config, poisoned, tmp_path
) -> None:
    """Frozen batch norms have no counters and no batch statistics, there and in the replay."""
    model = model_config.model_copy(update={"backbone": "timm:test_resnet"})
    start = run_training(model=model, num_epochs=1, results_dir=tmp_path / "start")
    network = poisoned("input_proj.0.0", at_call=1, model=model)
    with pytest.raises(NonFiniteError) as stop:
        run_training(model=network, pretrained_model_path=start.latest_checkpoint)
    assert replay(stop.value.evidence).first_bad is None


def test_the_evidence_is_encrypted_with_the_run(run_training, poisoned) -> None:
    """Weights do not leak through the guard's file."""
    network = poisoned("input_proj.0.0", at_call=1)
    with pytest.raises(NonFiniteError) as stop:
        run_training(model=network, encryption_key="right")
    with pytest.raises(ValueError, match="is encrypted"):
        replay(stop.value.evidence)
    assert math.isfinite(replay(stop.value.evidence, encryption_key="right").loss)


def test_a_bad_loss_is_named(run_training, monkeypatch) -> None:
    """An infinite loss of finite outputs is traced to the loss."""
    original = SetCriterion.forward

    def forward(self, *args, **kwargs) -> dict[str, torch.Tensor]:
        losses = original(self, *args, **kwargs)
        return losses | {"loss_giou": losses["loss_giou"] + math.inf}

    monkeypatch.setattr(SetCriterion, "forward", forward)
    with pytest.raises(NonFiniteError, match="the loss loss_giou"):
        run_training()


def test_a_bad_gradient_is_named(run_training, monkeypatch) -> None:
    """A gradient that overflows behind a finite loss is traced to its parameter."""
    original = SetCriterion.total_loss

    def total_loss(self, losses) -> torch.Tensor:
        total = original(self, losses)
        return total + (total - total.detach()) * 3e38 * 3e38

    monkeypatch.setattr(SetCriterion, "total_loss", total_loss)
    with pytest.raises(NonFiniteError, match="is the first that is not finite"):
        run_training()


def test_loss_scaling_may_skip_some_updates(tmp_path) -> None:
    """Under fp16 a run stops only after many updates in a row without a finite gradient."""

    class Scaled:
        class trainer:  # noqa: N801 - stands for an attribute
            class precision_plugin:  # noqa: N801
                scaler = object()

    guard = NanGuard(tmp_path, files=None)
    for _ in range(MAX_SKIPPED_UPDATES - 1):
        guard.check(Scaled(), math.inf)
    guard.check(Scaled(), 1.0)
    for _ in range(MAX_SKIPPED_UPDATES - 1):
        guard.check(Scaled(), math.nan)
    with pytest.raises(RuntimeError, match="no batch was watched"):
        guard.check(Scaled(), math.nan)


def test_evidence_of_before_is_replayed(run_training, poisoned) -> None:
    """The first files hold the losses beside the architecture."""
    with pytest.raises(NonFiniteError) as stop:
        run_training(model=poisoned("transformer.encoder.layers.0.linear2"))
    wanted = replay(stop.value.evidence)
    content = torch.load(stop.value.evidence, weights_only=True)
    content["model"] |= content.pop("losses") | {"backbone_names": [], "clip_max_norm": 0.1}
    torch.save(content, stop.value.evidence)
    assert replay(stop.value.evidence) == wanted


def test_a_file_without_a_step_is_refused(tmp_path) -> None:
    """Any other checkpoint cannot be replayed."""
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="no step to replay"):
        replay(tmp_path / "other.pt")


def test_a_bad_picture_is_named_rather_than_the_first_module(model_config, dataset) -> None:
    """An infinite pixel spoils every output; the image is what to look at."""
    data = DetectionDataModule(dataset, seed=0, num_classes=4)
    batch = next(iter(data.train_dataloader()))
    batch.images[1, 0, 3, 4] = math.inf
    network = DeformableDETR(model_config)
    found = first_non_finite(network, SetCriterion(network.losses), batch)
    image_id = int(batch.targets[1]["image_id"])
    assert found == f"the input of image {image_id}"
    files = ["first.jpg", "second.jpg"]
    found = first_non_finite(network, SetCriterion(network.losses), batch, files)
    assert found == "the input of image second.jpg"
