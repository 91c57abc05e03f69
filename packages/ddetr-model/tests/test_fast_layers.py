"""Faster ways to compute the same answers and gradients."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from ddetr_model import (
    SetCriterion,
    export_huggingface,
    load_checkpoint,
    save_checkpoint,
    use_fast_layers,
)
from ddetr_model.backbones import freeze_batch_norms

# Of a tensor's whole gradient: float32 sums in another order.
RELATIVE_TOLERANCE = 1e-3


@pytest.fixture(autouse=True)
def processor(monkeypatch):
    """Pretend a maker and a width of vectors; by default what lets oneDNN compute."""
    read = Path.read_text

    def pretend(maker, vectors):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: vectors)
        monkeypatch.setattr(
            Path,
            "read_text",
            lambda self, *rest, **named: (
                maker if str(self) == "/proc/cpuinfo" else read(self, *rest, **named)
            ),
        )

    pretend("AuthenticAMD", "AVX512")
    return pretend


def run(model, batch, targets, autocast=False):
    images, mask = batch
    torch.manual_seed(0)  # networks with stochastic depth draw
    criterion = SetCriterion(model.losses)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        outputs = model(images, mask)
    criterion.total_loss(criterion(outputs, targets)).backward()
    return outputs, {name: each.grad for name, each in model.named_parameters()}


@pytest.mark.parametrize("backbone", ["resnet_50", "gc_vit_xxtiny", "timm:test_efficientnet"])
def test_training_gets_the_same_gradients(
    backbone, tiny_detector, mixed_batch, targets, shallow_resnet
):
    """Every tensor keeps its name, value and gradient.

    Live batch norms are left out: where channels lie last PyTorch estimates their variance with
    eight times the rounding, by which ReLUs behind them may differ.
    """
    plain = tiny_detector(backbone=backbone).train()
    freeze_batch_norms(plain.backbone)
    fast = deepcopy(plain)
    use_fast_layers(fast)
    wanted, gradients = run(plain, mixed_batch, targets)
    found, fast_gradients = run(fast, mixed_batch, targets)
    torch.testing.assert_close(found.pred_logits, wanted.pred_logits, atol=1e-4, rtol=0)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[name], value, rtol=1e-4, atol=1e-4)
    for name, gradient in gradients.items():
        if gradient is None:
            assert fast_gradients[name] is None
            continue
        difference = (fast_gradients[name] - gradient).norm()
        assert difference <= RELATIVE_TOLERANCE * gradient.norm() + 1e-6, name


def test_autocast_still_chooses_the_precision(tiny_detector, mixed_batch, targets, shallow_resnet):
    """Products are computed in 16 bits where autocast says so."""
    model = tiny_detector().train()
    use_fast_layers(model)
    outputs, gradients = run(model, mixed_batch, targets, autocast=True)
    assert outputs.pred_logits.dtype == torch.bfloat16
    assert all(each.dtype == torch.float32 for each in gradients.values() if each is not None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("sizes", [(5, 3), (96, 64), (64, 96)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_a_layer_computes_as_before(sizes, dtype, has_bias):
    """Answers and all gradients, for features of any leading sizes, few, many, and without rows."""
    plain = nn.Linear(*sizes, bias=has_bias, dtype=dtype)
    fast = nn.Sequential(deepcopy(plain))
    use_fast_layers(fast)
    for leading in ((4,), (2, 6), (3, 2, 150), (0,)):
        given = torch.randn(*leading, sizes[0], dtype=dtype)
        inputs = [given.clone().requires_grad_() for _ in range(2)]
        outputs = [layer(x) for layer, x in zip((plain, fast), inputs, strict=True)]
        torch.testing.assert_close(outputs[1], outputs[0])
        for layer, output in zip((plain, fast), outputs, strict=True):
            layer.zero_grad()
            output.square().sum().backward()
        torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
        for mine, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
            # Sums over all rows: their rounding is of the size of the largest of them.
            atol = (2e-2 if dtype == torch.bfloat16 else 1e-5) * float(theirs.grad.abs().max())
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("maker", "vectors", "is_changed"),
    [
        ("AuthenticAMD", "AVX512", True),
        ("AuthenticAMD", "AVX2", False),  # MKL uses these
        ("GenuineIntel", "AVX512", False),
    ],
)
def test_layers_change_where_mkl_is_slow(processor, maker, vectors, is_changed):
    """On other processors, and in small products, PyTorch's own is the faster."""
    processor(maker, vectors)
    network = nn.Sequential(nn.Linear(4, 3))
    use_fast_layers(network)
    assert (type(network[0]) is not nn.Linear) is is_changed


def test_frozen_weights_get_no_gradient():
    layer = nn.Linear(4, 3).requires_grad_(False)
    network = nn.Sequential(layer)
    use_fast_layers(network)
    features = torch.randn(2, 4, requires_grad=True)
    network(features).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(features.grad, layer.weight.sum(0).expand(2, -1))


@pytest.mark.parametrize("options", [{"stride": 2}, {"groups": 2}, {"padding": 1}, {}])
def test_pointwise_convolutions_compute_as_before(options):
    """Those with steps, groups or a border are left to PyTorch."""
    plain = nn.Conv2d(4, 6, 1, **options)
    fast = nn.Sequential(deepcopy(plain))
    use_fast_layers(fast)
    images = torch.randn(2, 4, 5, 7)
    torch.testing.assert_close(fast(images), plain(images))


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, 1), nn.Linear(7, 6)])
def test_an_activation_in_place_may_follow(layer):
    """Squeeze-and-excitation has one behind a convolution of single pixels."""
    plain = nn.Sequential(layer, nn.ReLU(inplace=True))
    fast = deepcopy(plain)
    use_fast_layers(fast)
    given = torch.randn(2, 4, 5, 7)
    inputs = [given.clone().requires_grad_() for _ in range(2)]
    outputs = [network(x) for network, x in zip((plain, fast), inputs, strict=True)]
    torch.testing.assert_close(outputs[1], outputs[0])
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for mine, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_a_network_with_fast_layers_is_written_as_before(tiny_detector, shallow_resnet, tmp_path):
    """Files do not tell how weights lay in memory."""
    model = tiny_detector()
    wanted = {name: value.clone() for name, value in model.state_dict().items()}
    use_fast_layers(model)
    export_huggingface(model, tmp_path / "folder")
    save_checkpoint(model, tmp_path / "model.pth")
    for path in (tmp_path / "folder", tmp_path / "model.pth"):
        read = load_checkpoint(path)
        for name, value in read.state_dict().items():
            torch.testing.assert_close(value, wanted[name], rtol=0, atol=0)
            assert value.is_contiguous()
