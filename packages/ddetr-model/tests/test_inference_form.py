"""The inference form answers as the detector that it was made from."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from ddetr_model import DeformableDETR, inference_form
from ddetr_model.backbones import fold_batch_norms, freeze_batch_norms

FP32_TOLERANCE = 1e-5
# Of logits of a few units: 16 bits have 8 (bf16) or 11 (fp16) of mantissa.
TOLERANCES = {"bf16": 0.1, "fp16": 0.02}

BACKBONES = {
    "resnet_50": {},
    "dilated": {"num_feature_levels": 1, "return_interm_indices": (3,), "dilation": True},
    "timm, norms hold the activation": {"backbone": "timm:regnetx_002"},
    "gc_vit": {"backbone": "gc_vit_xxtiny"},
    "two_stage": {"two_stage": True},
}


@pytest.fixture
def detector(tiny_config, perturb, shallow_resnet):
    """Give a factory of detectors whose batch norms are not the identity."""

    def make(**fields):
        if fields.get("backbone", "").startswith("timm:"):
            pytest.importorskip("timm")
        model = perturb(DeformableDETR(tiny_config(**fields)), scale=0.02)
        with torch.no_grad():
            for norm in model.modules():
                if isinstance(norm, nn.BatchNorm2d):
                    norm.running_mean.normal_(0, 0.1)
                    norm.running_var.uniform_(0.5, 2)
        return model.eval()

    return make


def assert_close(found, wanted, tolerance):
    for one, other in zip(found[:2], wanted[:2], strict=True):
        torch.testing.assert_close(one.float(), other, atol=tolerance, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("frozen", [False, True], ids=["live norms", "frozen norms"])
def test_the_form_answers_as_the_detector(kind, frozen, detector, mixed_batch):
    """Padded or not, to the rounding of float32; the detector itself stays as it is."""
    model = detector(**BACKBONES[kind])
    if frozen:
        freeze_batch_norms(model.backbone)
    names = list(model.state_dict())
    images, mask = mixed_batch
    form = inference_form(model)
    assert_close(form(images, mask), model(images, mask), FP32_TOLERANCE)
    assert_close(form(images), model(images), FP32_TOLERANCE)
    assert list(model.state_dict()) == names


@torch.no_grad()
@pytest.mark.parametrize("precision", TOLERANCES)
def test_sixteen_bits_answer_nearly_alike(precision, detector, mixed_batch):
    """Boxes stay float32, which pixels of a large image need."""
    model = detector()
    images, mask = mixed_batch
    found, wanted = inference_form(model, precision=precision)(images, mask), model(images, mask)
    assert found.pred_boxes.dtype == torch.float32
    assert_close(found, wanted, TOLERANCES[precision])


def test_no_norm_is_left_of_a_resnet(detector):
    """All 20 stand behind a convolution."""
    form = inference_form(detector())
    assert not any(isinstance(each, nn.BatchNorm2d) for each in form.modules())


class Branching(nn.Module):
    """A convolution whose answer two read, one that is used twice, and a norm of the pixels."""

    def __init__(self):
        super().__init__()
        self.first, self.twice = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(4))

    def forward(self, images):
        pixels = self.norms[0](images)
        first = self.first(pixels)
        branched = first + self.norms[1](first)
        return [self.norms[2](self.twice(branched)), self.norms[3](self.twice(pixels))]


@torch.no_grad()
def test_a_norm_is_folded_only_where_nothing_changes():
    """Where folding would change an answer the network stays as it was."""
    network = Branching().eval()
    for norm in network.norms:
        norm.running_var.fill_(4.0)
    images = torch.randn(1, 3, 8, 8)
    folded = fold_batch_norms(network, images)
    for found, wanted in zip(folded(images), network(images), strict=True):
        torch.testing.assert_close(found, wanted)


def test_an_unknown_precision_is_refused(detector):
    with pytest.raises(ValueError, match="fp32, bf16 or fp16, got 'int8'"):
        inference_form(detector(), precision="int8")


def test_no_compiler_is_told_in_a_sentence(detector, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler and there is no 'no-such"):
        inference_form(detector(), compile=True)


def test_a_processor_that_is_slow_in_16_bits_is_told_of(detector, monkeypatch):
    """Once, and not where it has the instructions, nor in float32."""
    model = detector()
    for has_them, count in ((False, 1), (True, 0)):
        found = {"amx_bf16": False, "avx512_bf16": has_them}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found, raising=False)
        assert len(inference_form(model, precision="bf16").notices) == count
        assert inference_form(model).notices == ()


COMPILED = """
import torch, torchvision
from ddetr_model import DeformableDETR, ModelConfig, inference_form
block = torchvision.models.resnet.Bottleneck
torchvision.models.resnet50 = lambda **options: torchvision.models.ResNet(block, [1] * 4, **options)
torch.manual_seed(0)
model = DeformableDETR(ModelConfig(
    num_classes=5, hidden_dim=32, nheads=4, enc_layers=1, dec_layers=1, dim_feedforward=48,
    num_queries=7,
)).eval()
images = torch.randn(2, 3, 64, 96)
mask = torch.zeros(2, 64, 96, dtype=torch.bool)
mask[1, 40:] = True
form = inference_form(model, compile=True)
with torch.no_grad():
    difference = (form(images, mask).pred_logits - model(images, mask).pred_logits).abs().max()
assert difference < 1e-5, difference
"""


def test_the_compiled_form_answers_alike():
    """The whole network at once, with oneDNN's products where they are faster.

    In a process of its own: PyTorch's autograd cannot be used in forks of one that has compiled.
    """
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], text=True, capture_output=True, timeout=600
    )
    assert done.returncode == 0, done.stderr


@torch.no_grad()
def test_without_one_dnn_pytorch_answers(detector, mixed_batch, monkeypatch):
    """As in a build of PyTorch that lacks it."""
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    model = detector()
    images, mask = mixed_batch
    assert_close(inference_form(model)(images, mask), model(images, mask), FP32_TOLERANCE)
