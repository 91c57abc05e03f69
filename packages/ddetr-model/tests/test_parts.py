"""Parts that are handed in: a backbone and transformer layers of one's own."""

import sys

import pytest
import torch
from torch import Tensor, nn

from ddetr_model import (
    CheckpointError,
    DeformableDETR,
    DeformableTransformer,
    SetCriterion,
    export_huggingface,
    export_original,
    import_checkpoint,
    load_checkpoint,
    load_pretrained,
    parts_from_outside,
    read_metadata,
    save_checkpoint,
)
from ddetr_model.backbones import Backbone, freeze_batch_norms
from ddetr_model.decoder import DeformableDecoderLayer
from ddetr_model.encoder import DeformableEncoderLayer

here = __name__  # the module of the parts, in the names of their classes
ANSWER_TOLERANCE = 1e-5  # float32, of logits and boxes


class Patches(nn.Module):
    """A backbone of its own class: two convolutions whose strides are their kernels."""

    num_channels = (8, 12)
    strides = (8, 16)

    def __init__(self) -> None:
        super().__init__()
        self.strides_of_maps = self.strides
        self.first = nn.Conv2d(3, 8, 8, stride=8)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 12, 2, stride=2)

    def forward(self, images: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        height, width = images.shape[-2:]
        padded = nn.functional.pad(images, (0, -width % 16, 0, -height % 16))
        first = self.norm(self.first(padded))
        maps = [first, self.second(first)]
        return [
            each[..., : -(-height // stride), : -(-width // stride)]
            for each, stride in zip(maps, self.strides_of_maps, strict=True)
        ]

    def freeze_pretrained(self) -> None:
        freeze_batch_norms(self)
        self.first.requires_grad_(False)


class Pyramidal(nn.Sequential):
    """A network that gives every map that it makes."""

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for layer in self:
            images = layer(images)
            maps.append(images)
        return maps


@pytest.fixture
def config(tiny_config):
    """Two levels."""
    return tiny_config(return_interm_indices=(1, 2), num_feature_levels=2)


def test_a_backbone_that_is_handed_in_trains(config, mixed_batch, targets):
    """Its maps become the levels, and its weights get gradients."""
    model = DeformableDETR(config, backbone=Patches())
    criterion = SetCriterion(model.losses)
    criterion.total_loss(criterion(model(*mixed_batch), targets)).backward()
    assert model.backbone[0].second.weight.grad.abs().sum() > 0
    assert model.input_proj[1][0].in_channels == 12


def test_a_backbone_says_itself_what_stays_frozen(config):
    """Pretrained keeps what it names; train_backbone=False keeps everything."""
    model = DeformableDETR(config, backbone=Patches())
    model.freeze_pretrained_backbone()
    learning = {name for name, p in model.backbone.named_parameters() if p.requires_grad}
    assert learning == {"0.second.weight", "0.second.bias"}
    frozen = config.model_copy(update={"train_backbone": False})
    model = DeformableDETR(frozen, backbone=Patches())
    assert not any(p.requires_grad for p in model.backbone.parameters())


@pytest.mark.parametrize("padding", ["erase", "alone"])
@torch.no_grad()
def test_a_wrapped_network_keeps_padding_out(padding, config, mixed_batch):
    """Both rules give an image's own answer in any batch, and "leak" does not."""
    network = Pyramidal(
        nn.Sequential(nn.Conv2d(3, 8, 3, 8, 1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU()),
    )
    nn.init.uniform_(network[0][1].bias)
    images, mask = mixed_batch
    kind = {"num_channels": (8, 12), "strides": (8, 16)}

    def differences(padding):
        model = DeformableDETR(config, backbone=Backbone(network, **kind, padding=padding)).eval()
        alone, both = model(images[1:, :, :57, :70]), model(images, mask)
        return max(
            (one - two[1:]).abs().max() for one, two in zip(alone[:2], both[:2], strict=True)
        )

    assert differences(padding) < ANSWER_TOLERANCE < differences("leak")


def test_a_backbone_that_does_not_fit_is_refused_with_a_reason(config, tiny_config):
    """What it lacks, how many maps it should give, and where its weights should come from."""
    with pytest.raises(TypeError, match="Conv2d lacks num_channels, strides, freeze_pretrained"):
        DeformableDETR(config, backbone=nn.Conv2d(3, 8, 3))
    with pytest.raises(TypeError, match=r"must be an nn\.Module, got dict"):
        DeformableDETR(config, backbone={})
    with pytest.raises(ValueError, match="Patches must give 3 maps for return_interm_indices"):
        DeformableDETR(tiny_config(), backbone=Patches())
    with_file = config.model_copy(update={"pretrained_backbone_path": "r50.pth"})
    with pytest.raises(ValueError, match="load the weights of Patches before it is handed in"):
        DeformableDETR(with_file, backbone=Patches())


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (
            {"strides": (8, 32)},
            r"level 1 12 channels and stride 32, 3 x 3 pixels of an image of 80 x 96, but gives 12 "
            r"channels and 5 x 6 pixels",
        ),
        (
            {"num_channels": (9, 12)},
            r"level 0 9 channels and stride 8, .* but gives 8 channels and 10 x 12 pixels",
        ),
    ],
)
@pytest.mark.parametrize("wrapped", [True, False])
def test_maps_that_are_not_as_declared_are_told(wrapped, declared, words, config, mixed_batch):
    """Before they are cut to the declared size, and before a projection fails by its shape."""
    network = Patches()
    if wrapped:
        kind = {"num_channels": (8, 12), "strides": (8, 16)} | declared
        backbone = Backbone(network, padding="leak", **kind)
    else:
        for name, value in declared.items():
            setattr(network, name, value)
        backbone = network
    model = DeformableDETR(config, backbone=backbone)
    with pytest.raises(ValueError, match=f"backbone Patches declares for {words}"):
        model(*mixed_batch)


def test_another_number_of_maps_is_told(config, mixed_batch):
    """One map more than are declared would be taken for the coarsest."""
    layers = [nn.Conv2d(3, 8, 8, 8), nn.Conv2d(8, 12, 2, 2), nn.Conv2d(12, 16, 2, 2)]
    backbone = Backbone(Pyramidal(*layers), num_channels=(8, 12), strides=(8, 16))
    with pytest.raises(ValueError, match="backbone Pyramidal declares 2 maps, but gives 3"):
        DeformableDETR(config, backbone=backbone).eval()(*mixed_batch)


def test_maps_of_any_rounding_are_as_declared(config):
    """A stride without padding leaves the rest of an odd side out, which is no other stride."""
    network = Pyramidal(nn.Conv2d(3, 8, 8, 8), nn.Conv2d(8, 12, 2, 2))
    backbone = Backbone(network, num_channels=(8, 12), strides=(8, 16), padding="leak")
    model = DeformableDETR(config, backbone=backbone)
    assert model(torch.randn(1, 3, 79, 97)).pred_boxes.shape == (1, 7, 4)


class Gated(DeformableDecoderLayer):
    """A decoder layer that learns how much of itself to add."""

    def __init__(self, config):
        super().__init__(config)
        self.gate = nn.Parameter(torch.ones(1))

    def forward(self, content, *others):
        return content + self.gate * super().forward(content, *others)


class Doubled(DeformableDecoderLayer):
    """A decoder layer whose tensors are the stock layer's, and whose answers are not."""

    def forward(self, *inputs):
        return 2 * super().forward(*inputs)


def doubled(config):
    return DeformableDETR(config, transformer=DeformableTransformer(config, decoder_layer=Doubled))


class Convolved(nn.Module):
    """An encoder layer without attention, which starts in a way of its own."""

    def __init__(self, config):
        super().__init__()
        self.mix = nn.Linear(config.hidden_dim, config.hidden_dim)

    def reset_parameters(self):
        nn.init.eye_(self.mix.weight)

    def forward(self, pixels, reference_points, pyramid):
        return self.mix(pixels + pyramid.positions)


def test_layers_that_are_handed_in_train(tiny_config, mixed_batch, targets):
    """Each layer is made by the given call, and starts as its own reset_parameters says."""
    config = tiny_config()
    transformer = DeformableTransformer(config, encoder_layer=Convolved, decoder_layer=Gated)
    model = DeformableDETR(config, transformer=transformer)
    assert torch.equal(transformer.encoder.layers[0].mix.weight, torch.eye(config.hidden_dim))
    criterion = SetCriterion(model.losses)
    criterion.total_loss(criterion(model(*mixed_batch), targets)).backward()
    assert all(layer.gate.grad.abs().item() > 0 for layer in transformer.decoder.layers)


def test_the_stock_transformer_handed_in_changes_nothing(tiny_config, mixed_batch):
    """The same seed gives the same network, layers named or not."""
    config = tiny_config()
    torch.manual_seed(1)
    stock = DeformableDETR(config)
    torch.manual_seed(1)
    layers = {"encoder_layer": DeformableEncoderLayer, "decoder_layer": DeformableDecoderLayer}
    transformer = DeformableTransformer(config, **layers)
    same = DeformableDETR(config, transformer=transformer)
    assert stock.state_dict().keys() == same.state_dict().keys()
    assert parts_from_outside(same) == parts_from_outside(stock) == {}


def test_parts_from_outside_are_named_by_their_class(tiny_config, config):
    """Handed in or put into a network that stood already; the stock one names none."""
    model = DeformableDETR(config, backbone=Patches())
    assert parts_from_outside(model) == {"backbone": f"{here}.Patches"}
    model.transformer.decoder.layers[1] = Gated(config)
    assert parts_from_outside(model) == {
        "backbone": f"{here}.Patches",
        "transformer.decoder.layers": f"{here}.Gated",
    }
    wrapped = Backbone(nn.Conv2d(3, 8, 8, 8), num_channels=(8, 8), strides=(8, 16))
    found = parts_from_outside(DeformableDETR(config, backbone=wrapped))
    assert found == {"backbone": "torch.nn.modules.conv.Conv2d"}
    assert parts_from_outside(type("Mine", (DeformableDETR,), {})(tiny_config())) == {
        "network": f"{here}.Mine"
    }


def test_a_checkpoint_names_the_parts_from_outside(config, tmp_path):
    """Their classes stand in the metadata, as text."""
    save_checkpoint(DeformableDETR(config, backbone=Patches()), tmp_path / "mine.pth")
    parts = read_metadata(tmp_path / "mine.pth").parts
    assert parts == {"backbone": f"{here}.Patches"}


def test_a_stock_reader_refuses_a_network_with_parts_from_outside(tiny_config, tmp_path):
    """The tensors would fit, and the answers would be another network's: its class is named."""
    model = doubled(tiny_config())
    save_checkpoint(model, tmp_path / "mine.pth")
    named = rf"\(transformer\.decoder\.layers is {here}\.Doubled\)"
    told = rf"mine\.pth is of a network with parts from outside of ddetr-model {named}: build"
    with pytest.raises(CheckpointError, match=told):
        load_checkpoint(tmp_path / "mine.pth")


def test_a_network_that_is_given_is_filled(tiny_config, tmp_path):
    """It answers as the one that was saved, and the file's classes come with it."""
    config = tiny_config()
    model = doubled(config).eval()
    save_checkpoint(model, tmp_path / "mine.pth", categories=[{"id": 1, "name": "cat"}])
    loaded = load_checkpoint(tmp_path / "mine.pth", network=doubled(config))
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded(images).pred_logits, model(images).pred_logits)
    assert loaded.metadata.categories[0]["name"] == "cat"
    assert loaded.metadata.parts == {"transformer.decoder.layers": f"{here}.Doubled"}


def test_a_given_network_must_be_that_of_the_file(tiny_config, tmp_path):
    """Heads, which no shape tells, are compared, and nothing can be overridden."""
    config = tiny_config()
    save_checkpoint(doubled(config), tmp_path / "mine.pth")
    other = doubled(config.model_copy(update={"nheads": 8}))
    with pytest.raises(CheckpointError, match="has nheads 4 but the model 8"):
        load_checkpoint(tmp_path / "mine.pth", network=other)
    with pytest.raises(TypeError, match="num_queries cannot override what a given network is"):
        import_checkpoint(tmp_path / "mine.pth", network=doubled(config), num_queries=3)


def test_a_given_network_must_have_the_parts_of_the_file(tiny_config, tmp_path):
    """The stock network's tensors would fit; the module that the class came from may have moved."""
    config = tiny_config()
    save_checkpoint(doubled(config), tmp_path / "mine.pth")
    told = rf"layers is {here}\.Doubled\): build that network in Python and pass it"
    with pytest.raises(CheckpointError, match=told):
        load_checkpoint(tmp_path / "mine.pth", network=DeformableDETR(config))
    contents = torch.load(tmp_path / "mine.pth", weights_only=True)
    contents["ddetr"]["parts"] = {"transformer.decoder.layers": "__main__.Doubled"}
    torch.save(contents, tmp_path / "moved.pth")
    load_checkpoint(tmp_path / "moved.pth", network=doubled(config))


def test_fine_tuning_from_parts_from_outside_needs_them(tiny_config, tmp_path):
    """The sentence names the class as it was saved; from a stock file one's own parts may start."""
    config = tiny_config()
    save_checkpoint(doubled(config), tmp_path / "mine.pth")
    save_checkpoint(DeformableDETR(config), tmp_path / "stock.pth")
    told = rf"layers is {here}\.Doubled\): build that network in Python and load the file into that"
    with pytest.raises(CheckpointError, match=told):
        load_pretrained(DeformableDETR(config), tmp_path / "mine.pth")
    assert not load_pretrained(doubled(config), tmp_path / "mine.pth").missing
    assert not load_pretrained(doubled(config), tmp_path / "stock.pth").missing


def test_no_file_imports_the_code_that_it_names(tiny_config, tmp_path):
    """A class is text: its module stays unloaded, whatever reads the file."""
    save_checkpoint(doubled(tiny_config()), tmp_path / "mine.pth")
    contents = torch.load(tmp_path / "mine.pth", weights_only=True)
    contents["ddetr"]["parts"] = {"transformer.decoder.layers": "antigravity.Doubled"}
    torch.save(contents, tmp_path / "named.pth")
    with pytest.raises(CheckpointError, match=r"is antigravity\.Doubled"):
        load_checkpoint(tmp_path / "named.pth")
    load_checkpoint(tmp_path / "named.pth", network=doubled(tiny_config()))
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("export", [export_original, export_huggingface])
def test_other_layouts_are_refused_to_parts_from_outside(export, tiny_config, tmp_path):
    """Whoever reads them would build the stock network."""
    with pytest.raises(ValueError, match=r"no word for parts from outside \(.*Doubled\)"):
        export(doubled(tiny_config()), tmp_path / "other")
