"""Parameter groups, the optimiser, and learning rates over a run."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from ddetr_model.config import ModelConfig
from ddetr_model.deformable_detr import DeformableDETR
from ddetr_model.freezing import freeze_modules
from ddetr_train.config import OptimizerConfig
from ddetr_train.module import (
    PLATEAU_PATIENCE_EPOCHS,
    build_optimizer,
    build_schedule,
    build_warmup,
    learning_rates,
    parameter_groups,
)


@pytest.fixture
def network(model_config: ModelConfig) -> DeformableDETR:
    return DeformableDETR(model_config)


def one_group(lr: float = 1.0) -> list[dict[str, object]]:
    return [{"params": [nn.Parameter(torch.ones(1))], "lr": lr, "name": "base"}]


def curve(config: OptimizerConfig, epochs: int) -> list[float]:
    optimizer = build_optimizer(one_group(), config)
    schedule = build_schedule(optimizer, config)
    rates = []
    for _ in range(epochs):
        rates.append(learning_rates(optimizer)["lr_base"])
        optimizer.step()
        schedule.step()
    return rates


def test_every_parameter_is_in_the_group_of_its_rate(network) -> None:
    """Backbone, linear projections and the rest have their own rates, and none is lost."""
    config = OptimizerConfig(lr=1e-3, lr_backbone=1e-4, lr_linear_proj_mult=0.5)
    groups = {
        group["name"]: group for group in parameter_groups(network.named_parameters(), config)
    }
    assert {name: group["lr"] for name, group in groups.items()} == {
        "base": 1e-3,
        "backbone": 1e-4,
        "linear_proj": 5e-4,
    }
    backbone = [p for p in network.backbone[0].parameters() if p.requires_grad]
    assert {id(p) for p in groups["backbone"]["params"]} == {id(p) for p in backbone}
    offsets = [p for name, p in network.named_parameters() if "sampling_offsets" in name]
    assert {id(p) for p in offsets} <= {id(p) for p in groups["linear_proj"]["params"]}
    trained = sum(p.requires_grad for p in network.parameters())
    assert sum(len(group["params"]) for group in groups.values()) == trained


def test_a_frozen_group_is_left_out(network) -> None:
    """The optimiser has no empty group after freezing the backbone."""
    freeze_modules(network, ["backbone"])
    groups = parameter_groups(network.named_parameters(), OptimizerConfig())
    assert [group["name"] for group in groups] == ["base", "linear_proj"]


def test_a_wholly_frozen_model_is_refused(network) -> None:
    """Nothing to train is an error before the first step."""
    network.requires_grad_(False)
    with pytest.raises(ValueError, match="every parameter is frozen"):
        parameter_groups(network.named_parameters(), OptimizerConfig())


def test_momentum_is_used_by_sgd_alone() -> None:
    """AdamW ignores the option."""
    sgd = build_optimizer(one_group(), OptimizerConfig(optimizer="SGD", momentum=0.5))
    adamw = build_optimizer(one_group(), OptimizerConfig(momentum=0.5))
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.param_groups[0]["momentum"] == 0.5
    assert isinstance(adamw, torch.optim.AdamW)
    assert "momentum" not in adamw.param_groups[0]


def test_multistep_decays_after_each_of_its_epochs() -> None:
    """Rates fall at lr_steps and stay between them."""
    config = OptimizerConfig(lr_steps=(2, 4), lr_decay=0.5)
    assert curve(config, 6) == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25])


def test_steplr_decays_every_few_epochs() -> None:
    """Rates fall every lr_step_size epochs."""
    config = OptimizerConfig(lr_scheduler="StepLR", lr_step_size=2, lr_decay=0.1)
    assert curve(config, 5) == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_cosine_falls_to_its_fraction_in_the_last_epoch_and_stays() -> None:
    """As PyTorch's own, which knows no fraction of each group's rate, does over one epoch less."""
    config = OptimizerConfig(lr_scheduler="Cosine", lr_final_mult=0.1).spanning(7)
    other = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    theirs, expected = CosineAnnealingLR(other, T_max=6, eta_min=0.1), []
    for _ in range(7):
        expected.append(other.param_groups[0]["lr"])
        other.step()
        theirs.step()
    assert curve(config, 9) == pytest.approx([*expected, 0.1, 0.1])
    assert expected[-1] == pytest.approx(0.1)


@pytest.mark.parametrize("final_mult", [0.0, 0.01])
def test_a_cosine_of_one_epoch_has_the_whole_rate(final_mult: float) -> None:
    """There is no epoch to fall in; a second one has the last fraction, be it 0."""
    config = OptimizerConfig(lr_scheduler="Cosine", lr_final_mult=final_mult).spanning(1)
    assert curve(config, 3) == pytest.approx([1, final_mult, final_mult])


def test_a_cosine_without_epochs_is_refused() -> None:
    """Only a run knows how many it has."""
    config = OptimizerConfig(lr_scheduler="Cosine")
    with pytest.raises(ValueError, match="lr_cosine_epochs"):
        curve(config, 1)
    assert OptimizerConfig().spanning(5) == OptimizerConfig()
    given = OptimizerConfig(lr_scheduler="Cosine", lr_cosine_epochs=3)
    assert given.spanning(5) == given


def test_autoreduce_decays_on_a_plateau() -> None:
    """Rates fall once the value has not improved for long enough."""
    config = OptimizerConfig(lr_scheduler="AutoReduce", lr_decay=0.1)
    optimizer = build_optimizer(one_group(), config)
    schedule = build_schedule(optimizer, config)
    for value in [3.0, 2.0, *[2.0] * (PLATEAU_PATIENCE_EPOCHS + 1)]:
        assert learning_rates(optimizer)["lr_base"] == 1.0
        schedule.step(value)
    assert learning_rates(optimizer)["lr_base"] == pytest.approx(0.1)


def test_warmup_rises_to_the_rate_and_multiplies_with_the_schedule() -> None:
    """Update k of W works at (k + 1) / (W + 1); a decay in between keeps its effect."""
    config = OptimizerConfig(lr_steps=(1,), lr_decay=0.5)
    optimizer = build_optimizer(one_group(), config)
    schedule, warmup = build_schedule(optimizer, config), build_warmup(optimizer, 3)
    rates = []
    for update in range(5):
        rates.append(learning_rates(optimizer)["lr_base"])
        optimizer.step()
        warmup.step()
        if update == 3:
            schedule.step()
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.5])
