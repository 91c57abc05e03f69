"""The detector as a whole: shapes, names, what learns, what it costs."""

import pickle

import pytest
import torch

from ddetr_model import DeformableDETR, SetCriterion, describe_frozen, freeze_modules

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
    criterion = SetCriterion(model.losses)
    return criterion.total_loss(criterion(model(images, mask), targets))


@pytest.mark.parametrize("indices", LEVELS)
def test_every_documented_list_trains(indices, tiny_config, mixed_batch, targets):
    """One to five levels give (B, Q, C) and (B, Q, 4), and every parameter a gradient."""
    config = tiny_config(return_interm_indices=indices, num_feature_levels=len(indices))
    model = DeformableDETR(config)
    outputs = model(*mixed_batch)
    assert outputs.pred_logits.shape == (2, 7, 5)
    assert outputs.pred_boxes.shape == (2, 7, 4)
    assert len(outputs.aux_outputs) == 1
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
def test_whatever_learns_is_reached_by_a_loss(fields, tiny_detector, mixed_batch, targets):
    """Data-parallel training would stop at a parameter that gets no gradient."""
    model = tiny_detector(**fields)
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
    boxes = model(*mixed_batch).aux_outputs[0].pred_boxes
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
    pyramid = model.build_pyramid(*mixed_batch)
    kept = []
    for enabled in (False, True):
        model.set_activation_checkpointing(enabled)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.numel()) or tensor,
            lambda tensor: tensor,
        ):
            model.transformer.encoder(pyramid)
        kept.append(sum(sizes))
    assert kept[1] < 0.2 * kept[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"two_stage": True},
        {
            "backbone": "gc_vit_xxtiny",
            "padding_invariant": False,
            "num_feature_levels": 1,
            "return_interm_indices": (1,),  # two stages have every kind of block
        },
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_forward_compiles_without_a_graph_break(fields, training, tiny_config, mixed_batch):
    """With fixed shapes the whole model is one graph, mask and all.

    A padding-invariant GCViT in evaluation is not: it runs images alone, at sizes of the mask.
    """
    two_levels = {"num_feature_levels": 2, "return_interm_indices": (1, 2)}
    config = tiny_config(**{"dec_layers": 1, **two_levels, **fields})
    model = DeformableDETR(config)
    model.backbone.eval()  # batch norms would move between the two runs
    model.transformer.train(training)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    found, wanted = compiled(*mixed_batch), model(*mixed_batch)
    torch.testing.assert_close(found.pred_logits, wanted.pred_logits)


def test_outputs_are_pickled_by_name(tiny_config, mixed_batch):
    """They travel between processes, and come back as the same named tuples."""
    outputs = DeformableDETR(tiny_config(two_stage=True)).eval()(*mixed_batch)
    again = pickle.loads(pickle.dumps(outputs))
    assert type(again) is type(outputs)
    assert type(again.enc_outputs) is type(outputs.enc_outputs)
    assert torch.equal(again.pred_boxes, outputs.pred_boxes)


def test_autocast_keeps_boxes_in_float32(tiny_config, mixed_batch, targets):
    """Box refinement and losses are float32 islands under bfloat16."""
    model = DeformableDETR(tiny_config())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(*mixed_batch)
        loss = total_loss(model, *mixed_batch, targets)
    assert outputs.pred_boxes.dtype == torch.float32
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


def test_freeze_stops_the_named_parts(tiny_config):
    """Whole modules by name; the rest still learns."""
    model = DeformableDETR(tiny_config())
    frozen = freeze_modules(model, ["transformer.encoder", "input_proj"])
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
    freeze_modules(model, [name])
    for parameter, value in model.named_parameters():
        is_named = parameter == name or parameter.startswith(f"{name}.")
        shared = name == "bbox_embed" and ".bbox_embed." in parameter  # listed in the decoder
        assert value.requires_grad != (is_named or shared), parameter


def test_freeze_knows_shared_heads_by_both_names(tiny_config):
    """The decoder's refining heads are the detector's."""
    model = DeformableDETR(tiny_config())
    freeze_modules(model, ["transformer.decoder.bbox_embed"])
    assert not any(p.requires_grad for p in model.bbox_embed.parameters())


def test_freeze_offers_the_nearest_name(tiny_config):
    """A typing error in a spec is told with what was probably meant."""
    with pytest.raises(ValueError, match=r"'transformer.encodr'.*transformer\.encoder"):
        freeze_modules(DeformableDETR(tiny_config()), ["transformer.encodr"])


@pytest.mark.parametrize(
    "name", ["backbone", "backbone.0.body", "backbone.0.body.layer1", "backbone.0.body.bn1"]
)
def test_freeze_takes_the_statistics_of_batch_norms(name, tiny_config, mixed_batch):
    """No tensor below the name moves in a forward pass; norms beside it do."""
    # fault 19
    model = DeformableDETR(tiny_config()).train()
    freeze_modules(model, [name])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model(*mixed_batch)
    moved = {key for key, value in model.state_dict().items() if not value.equal(before[key])}
    assert not any(key.startswith(f"{name}.") for key in moved)
    assert bool(moved) == (name not in ("backbone", "backbone.0.body"))


def test_what_does_not_train_is_described_by_the_largest_parts(tiny_config):
    """Names, and how many norms move."""
    # fault 19
    model = DeformableDETR(tiny_config())
    said = describe_frozen(model)
    assert said.startswith("everything trains, ")
    assert said.endswith(" batch norms are live")
    freeze_modules(model, ["backbone", "transformer.level_embed", "class_embed"])
    parts, norms = describe_frozen(model).split(" do not train, ")
    assert parts == "backbone, transformer.level_embed, class_embed"
    assert norms.endswith(" batch norms are frozen")
