"""One seed and one small architecture for all tests."""

import pytest
import torch
import torchvision

from ddetr_model import DeformableDETR, LossConfig, ModelConfig

TINY = {
    "num_classes": 5,
    "hidden_dim": 32,
    "nheads": 4,
    "enc_layers": 1,
    "dec_layers": 2,
    "dim_feedforward": 48,
    "num_queries": 7,
    "dropout_ratio": 0.0,
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def tiny_config():
    """Give a factory of small configs; keywords replace fields."""

    def make(**fields):
        return ModelConfig(**{**TINY, **fields})

    return make


@pytest.fixture
def tiny_detector(tiny_config):
    """Give a factory of small detectors; keywords are fields of either config."""

    def make(**fields):
        losses = {name: fields.pop(name) for name in LossConfig.model_fields if name in fields}
        return DeformableDETR(tiny_config(**fields), losses=LossConfig(**losses))

    return make


@pytest.fixture
def shallow_resnet(monkeypatch):
    """Build resnet_50 with one block a stage: the same widths and names in less time.

    Bare tensors do not tell that it is one, so they are read with backbone="resnet_50".
    """

    def build(**options):
        return torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1] * 4, **options)

    monkeypatch.setattr(torchvision.models, "resnet50", build)


@pytest.fixture
def perturb():
    """Give a function that moves every weight off its special start, so that nothing is zero."""

    def move(model, scale=0.05):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * scale)
        return model

    return move


@pytest.fixture
def mixed_batch():
    """Give images (2, 3, 80, 96) and masks of which the second is 57 x 70 and padded."""
    images = torch.randn(2, 3, 80, 96)
    mask = torch.zeros(2, 80, 96, dtype=torch.bool)
    mask[1, 57:] = True
    mask[1, :, 70:] = True
    return images.masked_fill(mask[:, None], 0.0), mask


@pytest.fixture
def targets():
    """Give three objects in the first image and one in the second."""
    return [
        {
            "boxes": torch.tensor(
                [[0.3, 0.3, 0.2, 0.3], [0.6, 0.5, 0.4, 0.2], [0.5, 0.7, 0.1, 0.1]]
            ),
            "labels": torch.tensor([1, 3, 1]),
        },
        {"boxes": torch.tensor([[0.5, 0.5, 0.6, 0.6]]), "labels": torch.tensor([4])},
    ]
