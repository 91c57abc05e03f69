"""The detector as a whole: shapes, names, what learns, what it costs."""

import numpy as np
import pytest
import torch
from PIL import Image

from ddetr_model import CheckpointMetadata, DeformableDETR, SetCriterion
from ddetr_model.images import read_picture

pytestmark = pytest.mark.usefixtures("shallow_resnet")

LEVELS = [(0, 1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3), (1, 2), (1,), (3,)]
PUBLISHED_NAMES = {
    "backbone.0.body.conv1.weight",
    "input_proj.0.0.weight",
    "input_proj.3.1.bias",
    "transformer.level_embed",
    "transformer.reference_points.weight",
    "transformer.encoder.layers.0.self_attn.sampling_offsets.weight",
    "transformer.encoder.layers.0.norm2.bias",
    "transformer.decoder.layers.1.cross_attn.value_proj.weight",
    "transformer.decoder.layers.1.self_attn.in_proj_weight",
    "transformer.decoder.layers.1.linear2.weight",
    "transformer.decoder.layers.1.norm3.weight",
    "query_embed.weight",
    "class_embed.1.bias",
    "bbox_embed.0.layers.2.weight",
}


def total_loss(model, images, mask, targets):
    criterion = SetCriterion(model.config)
    return criterion.total_loss(criterion(model(images, mask), targets))


@pytest.mark.parametrize("indices", LEVELS)
def test_every_documented_list_trains(indices, tiny_config, mixed_batch, targets):
    """One to five levels give (B, Q, C) and (B, Q, 4), and every parameter a gradient."""
    config = tiny_config(return_interm_indices=indices, num_feature_levels=len(indices))
    model = DeformableDETR(config)
    outputs = model(*mixed_batch)
    assert outputs["pred_logits"].shape == (2, 7, 5)
    assert outputs["pred_boxes"].shape == (2, 7, 4)
    assert len(outputs["aux_outputs"]) == 1
    total_loss(model, *mixed_batch, targets).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]


@pytest.mark.parametrize(
    "fields",
    [
        {"aux_loss": False},
        {"loss_types": ("labels",)},
        {"loss_types": ("boxes",), "aux_loss": False},
        {"aux_loss": False, "with_box_refine": False},
        {"two_stage": True},
        {"two_stage": True, "aux_loss": False},
    ],
)
def test_whatever_learns_is_reached_by_a_loss(fields, tiny_config, mixed_batch, targets):
    """Data-parallel training would stop at a parameter that gets no gradient."""
    model = DeformableDETR(tiny_config(**fields))
    total_loss(model, *mixed_batch, targets).backward()
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert not [name for name, parameter in learning.items() if parameter.grad is None]


def test_names_are_the_published(tiny_config):
    """A published file finds every tensor, and the refining heads a second time."""
    names = DeformableDETR(tiny_config(with_box_refine=False)).state_dict().keys()
    assert names >= PUBLISHED_NAMES
    assert "transformer.decoder.bbox_embed.0.layers.0.weight" not in names
    names = DeformableDETR(tiny_config(two_stage=True)).state_dict().keys()
    assert names >= PUBLISHED_NAMES - {
        "query_embed.weight",
        "transformer.reference_points.weight",
    } | {
        "transformer.decoder.bbox_embed.2.layers.0.weight",
        "transformer.decoder.class_embed.2.weight",
        "transformer.enc_output.weight",
        "transformer.pos_trans_norm.weight",
    }


def test_first_boxes_sit_on_their_reference_points(tiny_config, mixed_batch):
    """At the start a box is sigmoid(-2) wide around its query's own point."""
    model = DeformableDETR(tiny_config()).eval()
    boxes = model(*mixed_batch)["aux_outputs"][0]["pred_boxes"]
    query_positions = model.query_embed.weight[:, :32]
    points = model.transformer.reference_points(query_positions).sigmoid()
    torch.testing.assert_close(boxes[0, :, :2], points, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        boxes[..., 2:], torch.full_like(boxes[..., 2:], 0.1192), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("indices", LEVELS)
def test_activation_checkpointing_is_exact(indices, tiny_config, mixed_batch, targets):
    """The same loss and the same gradients to the bit, with dropout on."""
    config = tiny_config(
        return_interm_indices=indices, num_feature_levels=len(indices), dropout_ratio=0.3
    )
    model = DeformableDETR(config)
    results = []
    for enabled in (False, True):
        model.set_activation_checkpointing(enabled)
        model.zero_grad()
        model.backbone.eval()  # batch norms would move between the two runs
        torch.manual_seed(1)
        loss = total_loss(model, *mixed_batch, targets)
        loss.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        results.append((loss.detach(), gradients))
    torch.testing.assert_close(results[0], results[1], atol=0, rtol=0)


def test_activation_checkpointing_keeps_fewer_tensors(tiny_config, mixed_batch):
    """The encoder's inner activations are not kept for the backward pass."""
    model = DeformableDETR(tiny_config(enc_layers=3))
    pyramids = []
    hook = model.transformer.encoder.register_forward_pre_hook(
        lambda _, arguments: pyramids.append(arguments[0])
    )
    model(*mixed_batch)
    hook.remove()
    kept = []
    for enabled in (False, True):
        model.set_activation_checkpointing(enabled)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.numel()) or tensor,
            lambda tensor: tensor,
        ):
            model.transformer.encoder(pyramids[0])
        kept.append(sum(sizes))
    assert kept[1] < 0.2 * kept[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [{}, {"two_stage": True}, {"backbone": "gc_vit_xxtiny", "padding_invariant": False}],
)
@pytest.mark.parametrize("training", [False, True])
def test_forward_compiles_without_a_graph_break(fields, training, tiny_config, mixed_batch):
    """With fixed shapes the whole model is one graph, mask and all.

    A padding-invariant GCViT in evaluation is not: it runs images alone, at sizes of the mask.
    """
    config = tiny_config(dec_layers=1, num_feature_levels=2, return_interm_indices=(1, 2), **fields)
    model = DeformableDETR(config)
    model.backbone.eval()  # batch norms would move between the two runs
    model.transformer.train(training)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    found, wanted = compiled(*mixed_batch), model(*mixed_batch)
    torch.testing.assert_close(found["pred_logits"], wanted["pred_logits"])


def test_autocast_keeps_boxes_in_float32(tiny_config, mixed_batch, targets):
    """Box refinement and losses are float32 islands under bfloat16."""
    model = DeformableDETR(tiny_config())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(*mixed_batch)
        loss = total_loss(model, *mixed_batch, targets)
    assert outputs["pred_boxes"].dtype == torch.float32
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


def test_predict_takes_images_of_any_size(tiny_config):
    """Plain tensors in, plain dicts out, in pixels of each image; the mode is left alone."""
    model = DeformableDETR(tiny_config())
    first, second = model.predict([torch.randn(3, 40, 60), torch.randn(3, 64, 32)], num_select=6)
    assert first["boxes_xyxy"].shape == (6, 4)
    assert second["scores"].shape == second["labels"].shape == (6,)
    assert model.training
    assert model.predict([]) == []
    (alone,) = model.predict([torch.zeros(3, 64, 32)])
    assert len(alone["scores"]) == model.config.num_select


def test_predict_takes_pictures_of_every_kind(tiny_config):
    """The same picture by Pillow, as an array and as a tensor, beside a ready one, in a batch."""
    model = DeformableDETR(tiny_config())
    preprocess = {"mode": "shortest_edge", "shortest_edge": 64, "max_size": 90}
    model.metadata = CheckpointMetadata(model_config_=model.config, preprocess=preprocess)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    ready = torch.randn(3, 30, 80)
    by_array, by_image, by_tensor, _ = model.predict(
        [pixels, Image.fromarray(pixels), torch.from_numpy(pixels).permute(2, 0, 1), ready]
    )
    torch.testing.assert_close(by_image, by_array, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(by_tensor, by_array, atol=1e-3, rtol=1e-4)
    small, _ = read_picture(pixels, preprocess)
    assert small.shape == (3, 64, 80)
    (alone,) = model.predict([small])
    scale = torch.tensor([50 / 80, 40 / 64] * 2)
    torch.testing.assert_close(
        alone["boxes_xyxy"] * scale, by_array["boxes_xyxy"], atol=1e-2, rtol=0
    )


@pytest.mark.parametrize(
    "picture", ["a.jpg", np.zeros((4, 4, 3)), torch.zeros(1, 4, 4), Image.new("I;16", (4, 4))]
)
def test_predict_says_what_a_picture_is(picture, tiny_config):
    """Paths, float arrays, one channel and wide pixels are told apart from pictures."""
    with pytest.raises(TypeError, match=r"\(3, H, W\), got"):
        DeformableDETR(tiny_config()).predict([picture])


def test_pictures_are_normalised_by_hand():
    """White is (1 - mean) / std; clear pixels are white; a long side is held at its limit."""
    clear = Image.new("RGBA", (400, 20), (0, 0, 0, 0))
    pixels, size_hw = read_picture(clear, {"mean": [0.5], "std": [0.25], "max_size": 100})
    assert size_hw == (20, 400)
    assert pixels.shape == (3, 5, 100)
    torch.testing.assert_close(pixels, torch.full((3, 5, 100), 2.0))


def test_freeze_stops_the_named_parts(tiny_config):
    """Whole modules by name; the rest still learns."""
    model = DeformableDETR(tiny_config())
    frozen = model.freeze(["transformer.encoder", "input_proj"])
    assert all(name.startswith(("transformer.encoder.", "input_proj.")) for name in frozen)
    assert not any(p.requires_grad for p in model.input_proj.parameters())
    assert all(p.requires_grad for p in model.transformer.decoder.parameters())


@pytest.mark.parametrize(
    "name",
    [
        "backbone",
        "backbone.0.body.layer2",
        "transformer",
        "transformer.encoder",
        "transformer.decoder.layers.1",
        "transformer.level_embed",
        "input_proj",
        "query_embed",
        "class_embed",
        "bbox_embed",
    ],
)
def test_freeze_takes_modules_and_parameters(name, tiny_config):
    """All of what is named stops to learn, and what shares no name with it goes on."""
    model = DeformableDETR(tiny_config())
    model.freeze([name])
    for parameter, value in model.named_parameters():
        is_named = parameter == name or parameter.startswith(f"{name}.")
        shared = name == "bbox_embed" and ".bbox_embed." in parameter  # listed in the decoder
        assert value.requires_grad != (is_named or shared), parameter


def test_freeze_knows_shared_heads_by_both_names(tiny_config):
    """The decoder's refining heads are the detector's."""
    model = DeformableDETR(tiny_config())
    model.freeze(["transformer.decoder.bbox_embed"])
    assert not any(p.requires_grad for p in model.bbox_embed.parameters())


def test_freeze_offers_the_nearest_name(tiny_config):
    """A typing error in a spec is told with what was probably meant."""
    with pytest.raises(ValueError, match=r"'transformer.encodr'.*transformer\.encoder"):
        DeformableDETR(tiny_config()).freeze(["transformer.encodr"])
