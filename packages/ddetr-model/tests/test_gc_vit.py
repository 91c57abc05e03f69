"""GCViT equals timm's where timm has it, and takes any size where timm does not."""

import functools

import pytest
import torch

from ddetr_model.backbones import VARIANTS, GCViT

FEATURE_TOLERANCE = 1e-4  # float32, up to 31 blocks
ALL_STAGES = (0, 1, 2, 3)
# Parameters with the classifier, in millions (Hatamizadeh et al. 2023, table 1).
PUBLISHED_MILLIONS = {
    "gc_vit_xxtiny": 12.0,
    "gc_vit_xtiny": 20.0,
    "gc_vit_tiny": 28.2,
    "gc_vit_small": 51.1,
    "gc_vit_base": 90.3,
    "gc_vit_large": 202.1,
    "gc_vit_large_384": 202.9,
}


@pytest.mark.parametrize(
    "name",
    [
        "gc_vit_xxtiny",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("gc_vit_xtiny", "gc_vit_tiny", "gc_vit_small", "gc_vit_base")
        ),
    ],
)
def test_features_equal_timm_at_its_size(name):
    """With timm's weights every stage gives timm's map of a 224 x 224 image."""
    timm = pytest.importorskip("timm")
    theirs = timm.create_model(name.replace("gc_vit", "gcvit"), num_classes=0).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    ours = GCViT(VARIANTS[name], ALL_STAGES).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        wanted = theirs.forward_intermediates(images, intermediates_only=True)
        for mine, reference in zip(ours(images), wanted, strict=True):
            scale = reference.abs().max().clamp(min=1)
            assert ((mine - reference).abs().max() / scale).item() < FEATURE_TOLERANCE


@pytest.mark.parametrize("name", VARIANTS)
def test_names_and_shapes_are_those_of_timm(name, monkeypatch):
    """A file of timm's model fits as it is, for the variants timm has."""
    timm = pytest.importorskip("timm")
    if "large" in name:
        pytest.skip("timm has no large GCViT")
    # Older versions of timm read rates out of a tensor, which a meta tensor does not have.
    monkeypatch.setattr(torch, "linspace", functools.partial(torch.linspace, device="cpu"))
    with torch.device("meta"):
        theirs = timm.create_model(name.replace("gc_vit", "gcvit"), num_classes=0).state_dict()
        ours = GCViT(VARIANTS[name], ALL_STAGES).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {
        key: value.shape for key, value in theirs.items()
    }


@pytest.mark.parametrize("name", VARIANTS)
def test_parameter_count_is_the_published(name):
    """Features and a 1000-class head have the paper's number of parameters within 1 %."""
    with torch.device("meta"):
        network = GCViT(VARIANTS[name], ALL_STAGES)
    head = (network.num_channels[-1] + 1) * 1000
    millions = (sum(p.numel() for p in network.parameters()) + head) / 1e6
    assert millions == pytest.approx(PUBLISHED_MILLIONS[name], rel=0.01)


@pytest.mark.parametrize("size_hw", [(32, 32), (33, 70), (96, 160)])
def test_any_size_gives_maps_of_every_stride(size_hw):
    """Sizes that no window divides round up, stage by stage."""
    network = GCViT(VARIANTS["gc_vit_xxtiny"], (1, 3)).eval()
    with torch.no_grad():
        maps = network(torch.randn(1, 3, *size_hw))
    for level, stride, channels in zip(maps, (8, 32), (128, 512), strict=True):
        wanted = tuple(-(-side // stride) for side in size_hw)
        assert level.shape == (1, channels, *wanted)


def test_stages_beyond_the_last_wanted_are_not_built():
    """Data-parallel training refuses parameters that nothing uses."""
    assert len(GCViT(VARIANTS["gc_vit_xxtiny"], (1,)).stages) == 2


def test_each_map_of_a_detector_has_its_own_norm():
    """With output_norms every wanted stage is normed over channels, and the last one once."""
    network = GCViT(VARIANTS["gc_vit_xxtiny"], (1, 3), output_norms=True).eval()
    assert {name for name in network.state_dict() if name.startswith("norm")} == {
        "norm1.weight",
        "norm1.bias",
        "norm3.weight",
        "norm3.bias",
    }
    assert "stages.3.norm.weight" not in network.state_dict()
    with torch.no_grad():
        for level in network(torch.randn(1, 3, 64, 64)):
            torch.testing.assert_close(
                level.mean(1), torch.zeros_like(level[:, 0]), atol=1e-5, rtol=0
            )
