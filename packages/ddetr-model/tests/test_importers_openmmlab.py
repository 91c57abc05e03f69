"""Checkpoints of detrex and mmdetection 2: their names, by a table written apart from the code."""

import pytest
import torch

from ddetr_model import DeformableDETR, import_checkpoint

# Published part -> what mmdetection 2 and detrex call it, for the parts that are not renamed alike.
SHARED_TABLE = (
    ("decoder.layers.{n}.self_attn.", "decoder.layers.{n}.attentions.0.attn."),
    ("decoder.layers.{n}.cross_attn.", "decoder.layers.{n}.attentions.1."),
    ("encoder.layers.{n}.self_attn.", "encoder.layers.{n}.attentions.0."),
    ("encoder.layers.{n}.norm1.", "encoder.layers.{n}.norms.0."),
    ("encoder.layers.{n}.norm2.", "encoder.layers.{n}.norms.1."),
    ("decoder.layers.{n}.norm2.", "decoder.layers.{n}.norms.0."),
    ("decoder.layers.{n}.norm1.", "decoder.layers.{n}.norms.1."),
    ("decoder.layers.{n}.norm3.", "decoder.layers.{n}.norms.2."),
    ("layers.{n}.linear1.", "layers.{n}.ffns.0.layers.0.0."),
    ("layers.{n}.linear2.", "layers.{n}.ffns.0.layers.1."),
)


def answers(model, images):
    with torch.no_grad():
        outputs = model(images)
    return outputs.pred_logits, outputs.pred_boxes


@pytest.fixture(params=[{"with_box_refine": False}, {}, {"two_stage": True}])
def model(request, tiny_config, perturb):
    """Give a small detector of ours; attention heads are the eight that files do not tell."""
    config = tiny_config(padding_invariant=False, nheads=8, hidden_dim=64, **request.param)
    return perturb(DeformableDETR(config)).eval()


def renamed(model, table):
    """Write a model's tensors under other names, by a table kept apart from the code under test."""
    pairs = [(a.format(n=n), b.format(n=n)) for n in range(2) for a, b in table if "{n}" in a]
    pairs += [(a, b) for a, b in table if "{n}" not in a]
    tensors = {}
    for name, value in model.state_dict().items():
        for ours, theirs in pairs:
            name = name.replace(ours, theirs)
        tensors[name] = value
    return tensors


def resnet_of_detectron2():
    """List torchvision's names of a ResNet-50 and detectron2's."""
    table = []
    for stage, depth in ((1, 3), (2, 4), (3, 6), (4, 3)):
        for block in range(depth):
            ours, theirs = f"body.layer{stage}.{block}.", f"body.res{stage + 1}.{block}."
            table += [(f"{ours}bn{i}.", f"{theirs}conv{i}.norm.") for i in (1, 2, 3)]
            table += [(f"{ours}conv{i}.", f"{theirs}conv{i}.") for i in (1, 2, 3)]
            table += [(f"{ours}downsample.0.", f"{theirs}shortcut.")]
            table += [(f"{ours}downsample.1.", f"{theirs}shortcut.norm.")]
    return [*table, ("body.bn1.", "body.stem.conv1.norm."), ("0.body.conv1.", "0.body.stem.conv1.")]


def necks(norm):
    table = [
        ("input_proj.3.0.", "neck.extra_convs.0.conv."),
        ("input_proj.3.1.", f"neck.extra_convs.0.{norm}."),
    ]
    for level in range(3):
        table += [(f"input_proj.{level}.0.", f"neck.convs.{level}.conv.")]
        table += [(f"input_proj.{level}.1.", f"neck.convs.{level}.{norm}.")]
    return table


def test_detrex_gives_the_same_answers(model, tmp_path):
    """detectron2's ResNet, mmcv's layers; references at the border are cut as detrex cuts them."""
    table = [
        *resnet_of_detectron2(),
        ("backbone.0.body.", "backbone."),
        *necks("norm"),
        *SHARED_TABLE,
    ]
    table += [("level_embed", "level_embeds"), ("query_embed.", "query_embedding.")]
    torch.save({"model": renamed(model, table), "iteration": 3}, tmp_path / "detrex.pth")
    ours, report = import_checkpoint(tmp_path / "detrex.pth", num_queries=7)
    assert not report.missing
    assert not report.unexpected
    assert ours.config.reference_eps == 1e-3
    model.transformer.decoder.reference_eps = 1e-3
    images = torch.randn(1, 3, 90, 70)
    torch.testing.assert_close(answers(ours, images), answers(model, images), atol=1e-6, rtol=0)


def test_mmdetection_2_gives_the_same_answers(model, tmp_path):
    """The transformer stands in the head; the heads' layers are numbered 0, 2, 4."""
    table = [
        ("transformer.decoder.bbox_embed", "unused"),
        ("transformer.decoder.class_embed", "unused"),
    ]
    table += [("backbone.0.body.", "backbone."), *necks("gn"), *SHARED_TABLE]
    table += [("level_embed", "level_embeds"), ("query_embed.", "bbox_head.query_embedding.")]
    table += [
        ("class_embed.", "bbox_head.cls_branches."),
        ("transformer.", "bbox_head.transformer."),
    ]
    for head in range(3):
        branch = f"bbox_head.reg_branches.{head}."
        table += [(f"bbox_embed.{head}.layers.{i}.", f"{branch}{2 * i}.") for i in range(3)]
    tensors = {n: v for n, v in renamed(model, table).items() if not n.startswith("unused")}
    torch.save({"state_dict": tensors}, tmp_path / "mmdet2.pth")
    ours, report = import_checkpoint(tmp_path / "mmdet2.pth", num_queries=7)
    assert not report.missing
    assert not report.unexpected
    assert ours.config.with_box_refine == model.config.with_box_refine
    images = torch.randn(1, 3, 90, 70)
    torch.testing.assert_close(answers(ours, images), answers(model, images), atol=1e-6, rtol=0)
