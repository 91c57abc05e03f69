"""What of the backbone learns, and where its weights may come from."""

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from ddetr_model import CheckpointError, DeformableDETR
from ddetr_model.backbones import (
    VARIANTS,
    GCViT,
    build_backbone,
    freeze_batch_norms,
    thaw_batch_norms,
)
from ddetr_model.weights import from_nvlabs


def learning(module):
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


@pytest.fixture(scope="module")
def resnet_weights():
    """Give the tensors of a torchvision ResNet-50."""
    torch.manual_seed(1)
    return torchvision.models.resnet50().state_dict()


def test_random_backbone_trains_with_live_norms(tiny_config, caplog):
    """A frozen random stem would learn nothing; a notice says that everything trains."""
    model = DeformableDETR(tiny_config())
    assert "starts from random weights" in caplog.text
    body = model.backbone[0].body
    assert "conv1.weight" in learning(body)
    assert any(isinstance(module, nn.BatchNorm2d) for module in body.modules())


def test_pretrained_backbone_keeps_stem_first_stage_and_norms(
    tiny_config, tmp_path, resnet_weights
):
    """With weights from a file the published parts are frozen, and the rest learns."""
    torch.save(resnet_weights, tmp_path / "r50.pth")
    model = DeformableDETR(tiny_config(pretrained_backbone_path=str(tmp_path / "r50.pth")))
    body = model.backbone[0].body
    assert not any(isinstance(module, nn.BatchNorm2d) for module in body.modules())
    assert {name.split(".")[0] for name in learning(body)} == {"layer2", "layer3", "layer4"}
    torch.testing.assert_close(body.conv1.weight, resnet_weights["conv1.weight"])


def test_untrained_backbone_learns_nothing(tiny_config):
    """train_backbone=False freezes all of it."""
    body = DeformableDETR(tiny_config(train_backbone=False)).backbone[0].body
    assert not learning(body)
    assert any(isinstance(module, FrozenBatchNorm2d) for module in body.modules())


@pytest.mark.parametrize("wrapper", ["plain", "state_dict", "model", "prefix", "safetensors"])
def test_backbone_files_fit_however_they_are_wrapped(
    wrapper, tiny_config, tmp_path, resnet_weights
):
    """Wrapped dictionaries, any common prefix and safetensors all load by name."""
    path = tmp_path / ("r50.safetensors" if wrapper == "safetensors" else "r50.pth")
    if wrapper == "safetensors":
        save_file(resnet_weights, path)
    elif wrapper == "prefix":
        torch.save({f"module.encoder.{name}": v for name, v in resnet_weights.items()}, path)
    else:
        torch.save(resnet_weights if wrapper == "plain" else {wrapper: resnet_weights}, path)
    model = DeformableDETR(tiny_config(pretrained_backbone_path=str(path)))
    found = model.backbone[0].body.layer4[2].conv3.weight
    torch.testing.assert_close(found, resnet_weights["layer4.2.conv3.weight"])


def test_file_of_another_backbone_is_refused(tiny_config, tmp_path):
    """A ResNet-18 fits fewer than 90 % of the tensors and the text says how many."""
    path = tmp_path / "r18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    with pytest.raises(CheckpointError, match=r"fits \d+ of the backbone's 265 tensors"):
        DeformableDETR(tiny_config(pretrained_backbone_path=str(path)))


def test_missing_backbone_file_is_named(tiny_config):
    """The path stands in the error."""
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        DeformableDETR(tiny_config(pretrained_backbone_path="nowhere.pth"))


def test_nvlabs_names_turn_into_ours():
    """Every tensor of NVlabs' layout lands on one of ours, in shape too."""
    ours = GCViT(VARIANTS["gc_vit_xxtiny"], (0, 1, 2, 3)).state_dict()
    theirs = {to_nvlabs(name): squeeze(name, value) for name, value in ours.items()}
    back = from_nvlabs(theirs)
    assert back.keys() == ours.keys()
    assert all(back[name].shape == ours[name].shape for name in ours)


def squeeze(name, value):
    return value[:, :, 0, 0] if name.endswith(("se.fc1.weight", "se.fc2.weight")) else value


def to_nvlabs(name):
    """Say a name of ours as NVlabs would, written down apart from the code under test."""
    for ours, theirs in (
        ("conv_dw.weight", "conv.0.weight"),
        ("se.fc1.weight", "conv.2.fc.0.weight"),
        ("se.fc2.weight", "conv.2.fc.2.weight"),
        ("conv_pw.weight", "conv.3.weight"),
        ("conv_block.conv.", "conv."),
        ("stem.conv1.", "patch_embed.proj."),
        ("stem.down.", "patch_embed.conv_down."),
        ("rel_pos.", ""),
        ("stages.3.norm.", "norm."),
    ):
        name = name.replace(ours, theirs)
    if ".downsample." in name:
        stage = int(name.split(".")[1])
        name = name.replace(f"stages.{stage}.", f"levels.{stage - 1}.")
    for index in range(1, 4):
        name = name.replace(
            f"global_block.blocks.conv{index}.", f"q_global_gen.to_q_global.{index - 1}."
        )
    return name.replace("stages.", "levels.")


def test_timm_backbone_gives_the_wanted_strides(tiny_config):
    """Stages are found by stride, whatever index timm gives them."""
    pytest.importorskip("timm")
    backbone = build_backbone(
        tiny_config(backbone="timm:resnet10t", return_interm_indices=(1, 2), num_feature_levels=2)
    )
    maps = backbone(torch.randn(1, 3, 64, 96))
    assert [tuple(level.shape[-2:]) for level in maps] == [(8, 12), (4, 6)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("resnet_18", "did you mean timm:resnet18"),
        ("vit_tiny_patch16_224", "does not take images of other sizes"),
        ("swin_tiny_patch4_window7_224", "does not take images of other sizes .*224"),
        ("maxvit_tiny_rw_224", "does not take images of other sizes .*window"),
    ],
)
def test_unusable_timm_backbone_is_explained(name, text, tiny_config):
    """A typing error gets the nearest name, a missing stage the strides that are there."""
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=text):
        build_backbone(tiny_config(backbone=f"timm:{name}"))


def test_maps_with_their_channels_last_are_refused(tiny_config, monkeypatch):
    """They would be taken for other sizes."""
    timm = pytest.importorskip("timm")
    make = timm.create_model

    def create(name, **settings):
        body = make(name, **settings)
        run = body.forward
        body.forward = lambda images: [each.movedim(1, -1) for each in run(images)]
        return body

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(ValueError, match="maps with their channels last"):
        build_backbone(tiny_config(backbone="timm:resnet10t"))


@pytest.mark.parametrize("name", ["resnet10t", "regnetx_002"])
def test_frozen_norms_answer_as_the_live_ones_do_in_evaluation(name: str) -> None:
    """Freezing and thawing keep what a norm computes, the activation inside timm's norms too."""
    timm = pytest.importorskip("timm")
    body = timm.create_model(name, features_only=True, out_indices=(2,)).eval()
    for norm in body.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean)
            nn.init.normal_(norm.weight)
    images = torch.rand(1, 3, 64, 64)
    (live,) = body(images)
    freeze_batch_norms(body)
    (frozen,) = body.train()(images)
    torch.testing.assert_close(frozen, live)
    thaw_batch_norms(body)
    (thawed,) = body.eval()(images)
    torch.testing.assert_close(thawed, live)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("resnet18", "erase"),
        ("regnetx_002", "erase"),
        ("resnetblur50", "alone"),  # its blurring mirrors what it sees at a border
        ("skresnet18", "alone"),
        ("hrnet_w18_small", "alone"),
    ],
)
def test_padding_is_erased_only_in_front_of_layers_that_are_known(name, rule, tiny_config):
    """A block that is called like a ResNet's is not one for its name."""
    pytest.importorskip("timm")
    config = tiny_config(
        backbone=f"timm:{name}", return_interm_indices=(1, 2), num_feature_levels=2
    )
    assert build_backbone(config).padding == rule
    published = config.model_copy(update={"padding_invariant": False})
    assert build_backbone(published).padding == "leak"
