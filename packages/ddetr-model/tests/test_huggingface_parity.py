"""The same weights give the numbers of Hugging Face transformers' DeformableDetr."""

import copy

import pytest
import torch
from torch import nn

from ddetr_model import DeformableDETR, SetCriterion, export_huggingface, import_checkpoint
from ddetr_model.checkpoints import to_published_names

transformers = pytest.importorskip("transformers")
pytest.importorskip("timm")

from transformers.loss.loss_deformable_detr import (  # noqa: E402
    DeformableDetrHungarianMatcher,
    DeformableDetrImageLoss,
)

OUTPUT_TOLERANCE = 1e-4  # float32 through a ResNet-50: sums in another order
LOSS_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-3  # relative, of each parameter's largest entry

SIZES = {
    "num_labels": 5,
    "num_queries": 7,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "d_model": 64,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "dropout": 0.0,
    "auxiliary_loss": True,
    "class_cost": 2,  # as published; transformers' own default differs
    "disable_custom_kernels": True,
}
TORCH_RESNET = {"model_type": "resnet", "out_features": ["stage2", "stage3", "stage4"]}
VARIANTS = {
    "base": {},
    "box_refine": {"with_box_refine": True},
    "two_stage": {"with_box_refine": True, "two_stage": True, "two_stage_num_proposals": 7},
    "one_level": {"num_feature_levels": 1},
    "one_level_dc5": {"num_feature_levels": 1, "dilation": True},
    "transformers_resnet": {"backbone_config": TORCH_RESNET},
}

EXPORTED = {"base": {"with_box_refine": False}, "two_stage": {"two_stage": True}}


def build_reference(variant, perturb):
    """Make a model of transformers with heads of their own where the paper has them."""
    config = transformers.DeformableDetrConfig(**SIZES, **VARIANTS[variant])
    reference = transformers.DeformableDetrForObjectDetection(config)
    if config.with_box_refine:  # transformers ties what the published model keeps apart
        for kind in ("class_embed", "bbox_embed"):
            heads = nn.ModuleList(copy.deepcopy(head) for head in getattr(reference, kind))
            setattr(reference, kind, heads)
        reference.model.decoder.bbox_embed = reference.bbox_embed
        if config.two_stage:
            reference.model.decoder.class_embed = reference.class_embed
    perturb(reference, scale=0.02)
    with torch.no_grad():
        for buffer in reference.buffers():  # frozen statistics that do something
            buffer.mul_(1 + 0.05 * torch.rand_like(buffer))
    return reference.eval()


def save_as_file(reference, folder):
    """Write the folder that users have; safetensors would store shared heads once."""
    reference.config.save_pretrained(folder)
    torch.save(reference.state_dict(), folder / "pytorch_model.bin")
    return folder


@pytest.fixture(params=VARIANTS)
def models(request, tmp_path, perturb):
    """Give transformers' model and ours, imported from its folder."""
    reference = build_reference(request.param, perturb)
    ours, _ = import_checkpoint(save_as_file(reference, tmp_path))
    return reference, ours


def run_reference(reference, images, mask, targets):
    labels = [{"boxes": target["boxes"], "class_labels": target["labels"]} for target in targets]
    return reference(images, pixel_mask=(~mask).long(), labels=labels)


def total(losses, names):
    return sum(losses[name] for name in names if name.startswith("loss_"))


def gradients(model):
    named = model.named_parameters()
    return {name: parameter.grad for name, parameter in named if parameter.grad is not None}


def largest_difference(ours, theirs):
    return (ours - theirs).abs().max().item()


def test_outputs_losses_and_gradients_agree(models, mixed_batch, targets):
    """Logits, boxes, every loss and every gradient match on a padded batch of two sizes."""
    reference, ours = models
    images, mask = mixed_batch
    theirs = run_reference(reference, images, mask, targets)
    mine = ours(images, mask)
    assert largest_difference(mine.pred_logits, theirs.logits) < OUTPUT_TOLERANCE
    assert largest_difference(mine.pred_boxes, theirs.pred_boxes) < OUTPUT_TOLERANCE

    losses = SetCriterion(ours.losses)(mine, targets)
    for name, value in theirs.loss_dict.items():
        if name.startswith("loss_"):
            assert abs(losses[name].item() - value.item()) < LOSS_TOLERANCE, name

    total(theirs.loss_dict, theirs.loss_dict).backward()
    total(losses, theirs.loss_dict).backward()
    wanted = to_published_names(gradients(reference))
    found = gradients(ours)
    smallest = 1e-4 * max(gradient.abs().max().item() for gradient in wanted.values())
    for name, gradient in wanted.items():
        scale = max(gradient.abs().max().item(), smallest)
        assert largest_difference(found[name], gradient) < GRADIENT_TOLERANCE * scale, name


@pytest.mark.parametrize("variant", EXPORTED)
def test_transformers_reads_our_export(variant, tiny_config, perturb, tmp_path):
    """from_pretrained finds every tensor and computes the same."""
    model = perturb(DeformableDETR(tiny_config(padding_invariant=False, **EXPORTED[variant])))
    export_huggingface(model.eval(), tmp_path)
    theirs = transformers.DeformableDetrForObjectDetection.from_pretrained(tmp_path).eval()
    images = torch.randn(1, 3, 70, 66)
    with torch.no_grad():
        found, wanted = theirs(images), model(images)
    torch.testing.assert_close(found.logits, wanted.pred_logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.pred_boxes, wanted.pred_boxes, atol=1e-4, rtol=0)


def test_proposal_losses_agree(perturb, mixed_batch, targets, tmp_path):
    """transformers leaves the loss of the first stage out; its own criterion gives ours."""
    reference = build_reference("two_stage", perturb)
    ours, _ = import_checkpoint(save_as_file(reference, tmp_path))
    images, mask = mixed_batch
    theirs = reference(images, pixel_mask=(~mask).long())
    proposals = {
        "logits": theirs.enc_outputs_class,
        "pred_boxes": theirs.enc_outputs_coord_logits.sigmoid(),
    }
    matcher = DeformableDetrHungarianMatcher(class_cost=2, bbox_cost=5, giou_cost=2)
    criterion = DeformableDetrImageLoss(matcher, 5, 0.25, ["labels", "boxes"])
    objects = [
        {"class_labels": torch.zeros_like(target["labels"]), "boxes": target["boxes"]}
        for target in targets
    ]
    losses = SetCriterion(ours.losses)(ours(images, mask), targets)
    for name, value in criterion(proposals, objects).items():
        wanted = pytest.approx(value.item(), rel=LOSS_TOLERANCE, abs=LOSS_TOLERANCE)
        assert losses[f"{name}_enc"].item() == wanted, name
