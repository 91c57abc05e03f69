"""The network that a training begins with: where its weights come from, and what is frozen."""

from __future__ import annotations

from collections.abc import Sequence

from ddetr_data.files import model_source
from ddetr_model import (
    DeformableDETR,
    LossConfig,
    ModelConfig,
    SetCriterion,
    describe_frozen,
    freeze_modules,
    load_pretrained,
)
from ddetr_model.checkpoints import class_rows
from ddetr_train.checkpoints import Resume
from ddetr_train.engine._classes import fit_class_heads
from ddetr_train.planning import Setup


def build_network(
    model: ModelConfig | DeformableDETR,
    losses: LossConfig,
    criterion: SetCriterion,
    setup: Setup,
    resume: Resume | None,
    encryption_key: str | None,
) -> DeformableDETR:
    """Build or take the network, fill and freeze it, and say in one notice how it begins.

    Raises:
        FileNotFoundError, ValueError: a file of weights is not there or does not fit, or a name of
            train.freeze is none of the network's.
    """
    config = setup.config
    network, source = _begun(model, losses, resume)
    network.set_activation_checkpointing(config.activation_checkpoint)
    freeze_modules(network, config.freeze)
    told, fresh = _without_effect(network, config.freeze), class_rows(network)
    if resume is not None:
        told += resume.prepare(network, criterion)
    elif config.pretrained_model_path is not None:
        with model_source(config.pretrained_model_path, encryption_key) as file:
            report = load_pretrained(network, file)
        filled = report.describe(str(config.pretrained_model_path))
        source = filled if source == _RANDOM else f"{source}; then {filled}"
    if resume is None:
        told += fit_class_heads(network, fresh, setup)
    setup.tell("; ".join([f"weights: {source}", describe_frozen(network), *told]))
    return network


def _without_effect(network: DeformableDETR, names: Sequence[str]) -> list[str]:
    """Tell of names that stand for no weights."""
    tensors = network.state_dict()
    return [
        f"train.freeze {name} freezes nothing"
        for name in names
        if not any(tensor == name or tensor.startswith(f"{name}.") for tensor in tensors)
    ]


_RANDOM = "random"


def _begun(
    model: ModelConfig | DeformableDETR, losses: LossConfig, resume: Resume | None
) -> tuple[DeformableDETR, str]:
    """Give the network, and where its weights come from."""
    if isinstance(model, DeformableDETR):
        network, source = model.train(), "those of the network that was handed in"
    else:
        # Without a file the network would warn that it is random: it may yet be filled.
        has_file = resume is None and model.pretrained_backbone_path is not None
        architecture = model if resume is None else resume.model
        network = DeformableDETR(architecture, losses=losses, load_backbone_file=has_file)
        source = _RANDOM
    if resume is not None:
        unread = f" (not {' or '.join(resume.unread)})" if resume.unread else ""
        return network, f"those of {resume.path}{unread}"
    if network.backbone_report is not None:
        path = network.config.pretrained_backbone_path
        source = network.backbone_report.describe(f"backbone file {path}")
        source = f"{source}; the rest is random"
    return network, source
