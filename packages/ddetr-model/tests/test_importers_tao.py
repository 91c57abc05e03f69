"""TAO's checkpoints: Lightning's wrapping, its settings, and GCViT under NVlabs' names."""

import pytest
import torch

from ddetr_model import CheckpointError, DeformableDETR, import_checkpoint, load_pretrained

INDEX = "relative_position_index"
# Ours -> NVlabs', in this order, apart from where downsampling and the global query stand.
NVLABS = (
    ("conv_dw.weight", "conv.0.weight"),
    ("se.fc1.weight", "conv.2.fc.0.weight"),
    ("se.fc2.weight", "conv.2.fc.2.weight"),
    ("conv_pw.weight", "conv.3.weight"),
    ("conv_block.conv.", "conv."),
    ("stem.conv1.", "patch_embed.proj."),
    ("stem.down.", "patch_embed.conv_down."),
    ("rel_pos.", ""),
    ("ls1.gamma", "gamma1"),
    ("ls2.gamma", "gamma2"),
)


def tao_name(name):
    """Say a name of ours as TAO does."""
    for ours, theirs in NVLABS:
        name = name.replace(ours, theirs)
    for stage in range(1, 4):
        name = name.replace(f"stages.{stage}.downsample.", f"levels.{stage - 1}.downsample.")
    for index in range(1, 4):
        query = f"q_global_gen.to_q_global.{index - 1}."
        name = name.replace(f"global_block.blocks.conv{index}.", query)
    return "model.model." + name.replace("stages.", "levels.")


def tao_checkpoint(model):
    """Make what TAO's trainer writes of a detector: linear excitations, index tables, counters."""
    tensors = {}
    for name, value in model.state_dict().items():
        is_linear = name.endswith(("se.fc1.weight", "se.fc2.weight"))
        tensors[tao_name(name)] = value[:, :, 0, 0] if is_linear else value
        if name.endswith("relative_position_bias_table"):
            index = tao_name(name).replace("relative_position_bias_table", INDEX)
            tensors[index] = torch.zeros(49, 49, dtype=torch.int64)
    return {"state_dict": tensors, "epoch": 9, "pytorch-lightning_version": "2.4.0"}


@pytest.fixture
def gc_vit_detector(tiny_config, perturb):
    """Give a factory of small GCViT detectors as TAO builds them."""

    def build(**fields):
        options = {"backbone": "gc_vit_xxtiny", "nheads": 8, "padding_invariant": False}
        model = DeformableDETR(tiny_config(**options, backbone_output_norms=True, **fields))
        return perturb(model, scale=0.02).eval()

    return build


@pytest.mark.parametrize("indices", [(1, 2, 3, 4), (0, 1, 2, 3, 4), (1, 2)])
def test_gc_vit_detectors_give_the_same_answers(indices, gc_vit_detector, tmp_path):
    """Variant, levels and norms are read from the tensors; only what is not used is left over."""
    model = gc_vit_detector(return_interm_indices=indices, num_feature_levels=len(indices))
    torch.save(tao_checkpoint(model), tmp_path / "tao.pth")
    loaded, report = import_checkpoint(tmp_path / "tao.pth")
    assert not report.missing
    assert not report.unexpected
    assert loaded.config.backbone == "gc_vit_xxtiny"
    assert loaded.config.return_interm_indices == indices
    images = torch.randn(1, 3, 90, 70)
    with torch.no_grad():
        found, wanted = loaded(images), model(images)
    torch.testing.assert_close(found.pred_logits, wanted.pred_logits, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.pred_boxes, wanted.pred_boxes, atol=1e-6, rtol=0)


def test_fine_tuning_takes_a_gc_vit_detector(gc_vit_detector, tmp_path):
    """train.pretrained_model_path reads the same file; other classes start anew."""
    model = gc_vit_detector()
    torch.save(tao_checkpoint(model), tmp_path / "tao.pth")
    tuned = gc_vit_detector(num_classes=3)
    report = load_pretrained(tuned, tmp_path / "tao.pth")
    assert {name.split(".")[0] for name in report.mismatched} == {"class_embed"}
    assert not report.missing


def test_the_largest_gc_vit_is_refused(tiny_config, tmp_path):
    """TAO builds gc_vit_large_384 for 224 pixels, with one more pooling than was published."""
    table = "model.model.backbone.0.body.levels.2.blocks.0.attn.relative_position_bias_table"
    query = "model.model.backbone.0.body.levels.0.q_global_gen.to_q_global.0.conv.0.weight"
    state = {
        table: torch.zeros(47 * 47, 24),
        query: torch.zeros(1),
        "model.model.transformer.level_embed": torch.zeros(4, 256),
    }
    torch.save({"state_dict": state}, tmp_path / "tao.pth")
    with pytest.raises(CheckpointError, match="gc_vit_large_384, which pools"):
        import_checkpoint(tmp_path / "tao.pth")


def test_other_widths_and_depths_are_told(gc_vit_detector, tmp_path):
    """A GCViT that nobody published has no name here."""
    contents = tao_checkpoint(gc_vit_detector())
    state = contents["state_dict"]
    block = "model.model.backbone.0.body.levels.0.blocks."
    extra = {
        n.replace("blocks.1.", "blocks.2."): v for n, v in state.items() if n.startswith(block)
    }
    state.update(extra)
    torch.save(contents, tmp_path / "tao.pth")
    with pytest.raises(CheckpointError, match=r"width 64 and depths \[3, 2, 6, 2\]"):
        import_checkpoint(tmp_path / "tao.pth")
