"""Checkpoints of other projects give the same answers here, and ours give theirs there."""

import argparse
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ddetr_model import (
    CheckpointError,
    CheckpointMetadata,
    DeformableDETR,
    export_huggingface,
    export_original,
    import_checkpoint,
    load_checkpoint,
    load_pretrained,
)
from ddetr_model.checkpoints import read_checkpoint

pytestmark = pytest.mark.usefixtures("shallow_resnet")

ANSWER_TOLERANCE = 1e-5
BARE = {"nheads": 4, "backbone": "resnet_50"}  # what tensors without settings do not tell
PUBLISHED = {
    "mode": "shortest_edge",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "shortest_edge": 800,
    "max_size": 1333,
}
VARIANTS = {
    "base": {"with_box_refine": False},
    "box_refine": {},
    "two_stage": {"two_stage": True},
    "one_level": {"num_feature_levels": 1, "return_interm_indices": (3,)},
}


@pytest.fixture(params=VARIANTS)
def model(request, tiny_config, perturb):
    """Give a small detector that computes as published."""
    config = tiny_config(padding_invariant=False, **VARIANTS[request.param])
    return perturb(DeformableDETR(config)).eval()


@pytest.fixture
def base_model(tiny_config, perturb):
    """Give a small detector with box refinement."""
    return perturb(DeformableDETR(tiny_config(padding_invariant=False))).eval()


def weights(model):
    state = model.state_dict().items()
    return {name: value for name, value in state if not name.endswith("num_batches_tracked")}


def assert_same_answers(model, other):
    images = torch.randn(1, 3, 70, 66)
    with torch.no_grad():
        found, wanted = other(images), model(images)
    for one, other in zip(found[:2], wanted[:2], strict=True):  # pred_logits and pred_boxes
        torch.testing.assert_close(one, other, atol=ANSWER_TOLERANCE, rtol=0)


def test_original_layout_goes_out_and_comes_back(model, tmp_path):
    """{"model", "args"} holds the architecture: nothing else is needed to read it."""
    export_original(model, tmp_path / "original.pth")
    contents = torch.load(tmp_path / "original.pth", weights_only=False)
    assert isinstance(contents["args"], argparse.Namespace)
    loaded = load_checkpoint(tmp_path / "original.pth")
    assert loaded.config.model_dump(exclude={"num_select"}) == model.config.model_dump(
        exclude={"num_select"}
    )
    assert_same_answers(model, loaded)


def test_huggingface_folder_goes_out_and_comes_back(model, tmp_path):
    """config.json and model.safetensors hold everything."""
    export_huggingface(model, tmp_path)
    loaded = load_checkpoint(tmp_path)
    assert loaded.config.two_stage == model.config.two_stage
    assert_same_answers(model, loaded)


@pytest.mark.parametrize(
    "prefix", ["model.model.", "model.", "module.", "module._orig_mod.", "detr."]
)
def test_tao_prefixes_are_taken_off(prefix, base_model, tmp_path):
    """TAO stores the published names behind its Lightning module's; heads come from args."""
    state = {prefix + name: value for name, value in weights(base_model).items()}
    torch.save({"state_dict": state, "epoch": 9}, tmp_path / "tao.pth")
    loaded, report = import_checkpoint(tmp_path / "tao.pth", **BARE)
    assert not report.missing
    assert loaded.config.enc_n_points == 4
    assert_same_answers(base_model, loaded)


@pytest.mark.parametrize("places", [("model_ema",), ("ema_state_dict",), ("ema", "module")])
def test_averaged_weights_are_read_where_there_are_no_others(places, base_model, tmp_path):
    """Files of an averaging trainer differ in where they put the tensors."""
    contents = weights(base_model)
    for place in reversed(places):
        contents = {place: contents}
    torch.save(contents, tmp_path / "ema.pth")
    loaded, report = import_checkpoint(tmp_path / "ema.pth", **BARE)
    assert not report.missing
    assert_same_answers(base_model, loaded)


def test_weights_come_before_their_average(base_model, tmp_path):
    """A file with both is read as its own trainer resumes from it."""
    averaged = {name: torch.zeros_like(value) for name, value in weights(base_model).items()}
    contents = {"model_ema": averaged, "model": weights(base_model)}
    torch.save(contents, tmp_path / "both.pth")
    assert_same_answers(base_model, import_checkpoint(tmp_path / "both.pth", **BARE)[0])


def test_tensors_beside_the_models_are_reported(base_model, tmp_path):
    """A mask head, or a trainer's own tensors, are of no use and named."""
    state = {f"detr.{name}": value for name, value in weights(base_model).items()}
    torch.save({"model": state | {"mask_head.lay1.bias": torch.zeros(3)}}, tmp_path / "mask.pth")
    _, report = import_checkpoint(tmp_path / "mask.pth", **BARE)
    assert report.unexpected == ("mask_head.lay1.bias",)


def test_architecture_is_read_from_the_shapes(base_model, tmp_path):
    """Without any settings, everything but the number of heads follows from the tensors."""
    torch.save({"model": weights(base_model)}, tmp_path / "bare.pth")
    loaded, _ = import_checkpoint(tmp_path / "bare.pth", **BARE)
    for field in ("hidden_dim", "num_classes", "num_queries", "dim_feedforward", "dec_layers"):
        assert getattr(loaded.config, field) == getattr(base_model.config, field)
    assert loaded.metadata.preprocess["shortest_edge"] == 800


def test_what_no_shape_tells_is_said(base_model, tmp_path, caplog):
    """Another number of heads, or a dilated backbone, would give other answers in silence."""
    torch.save({"model": weights(base_model)}, tmp_path / "bare.pth")
    import_checkpoint(tmp_path / "bare.pth", dilation=False, backbone="resnet_50")
    assert "bare.pth does not tell all of its architecture: nheads 8 assumed" in caplog.text
    caplog.clear()
    import_checkpoint(tmp_path / "bare.pth", **BARE, dilation=False)
    assert caplog.text == ""


def test_missing_tensors_are_refused_unless_asked_for(base_model, tmp_path):
    """A part of a model is not taken for a whole; the first tensors are named."""
    state = {
        name: v for name, v in weights(base_model).items() if "decoder.layers.0.norm" not in name
    }
    torch.save({"model": state}, tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match=r"lacks \d+ of \d+ tensors") as error:
        import_checkpoint(tmp_path / "part.pth", **BARE)
    assert "transformer.decoder" in str(error.value)
    _, report = import_checkpoint(tmp_path / "part.pth", allow_partial=True, **BARE)
    assert all(name.startswith("transformer.decoder.layers.0.norm") for name in report.missing)


def test_fine_tuning_starts_from_a_foreign_file(base_model, tiny_config, tmp_path):
    """load_pretrained reads the same layouts; the head of another size stays random."""
    export_original(base_model, tmp_path / "original.pth")
    tuned = DeformableDETR(tiny_config(num_classes=3))
    report = load_pretrained(tuned, tmp_path / "original.pth")
    assert {name.split(".")[0] for name in report.mismatched} == {"class_embed"}
    torch.testing.assert_close(tuned.query_embed.weight, base_model.query_embed.weight)


def test_other_models_are_refused(tmp_path):
    """Tensors of something else, and folders of another kind, are told apart."""
    torch.save({"model": {"weight": torch.zeros(3)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="no Deformable DETR"):
        load_checkpoint(tmp_path / "other.pth")
    (tmp_path / "config.json").write_text('{"model_type": "detr"}')
    with pytest.raises(CheckpointError, match="a detr model"):
        load_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_checkpoint(tmp_path.parent)


def test_export_refuses_what_the_layout_cannot_say(tiny_config, tmp_path):
    """The published code knows ResNet-50 at its own levels only."""
    model = DeformableDETR(tiny_config(return_interm_indices=(1,), num_feature_levels=1))
    with pytest.raises(ValueError, match="published layout knows"):
        export_original(model, tmp_path / "no.pth")
    model = DeformableDETR(tiny_config(backbone="gc_vit_xxtiny"))
    with pytest.raises(ValueError, match="needs backbone resnet_50"):
        export_huggingface(model, tmp_path)


@pytest.mark.parametrize("layout", ["original", "huggingface"])
def test_round_trips_are_equal_to_the_bit(layout, model, tmp_path):
    """Ours to theirs to ours, and theirs to ours to theirs: the same tensors and settings."""
    model.metadata = CheckpointMetadata(
        model_config_=model.config,
        categories=({"id": 1, "name": "cat"},) if layout == "huggingface" else (),
        preprocess=PUBLISHED | ({"mean": [0.5, 0.5, 0.5]} if layout == "huggingface" else {}),
    )
    export = export_original if layout == "original" else export_huggingface
    export(model, tmp_path / "first.pth")
    loaded = load_checkpoint(tmp_path / "first.pth")
    assert loaded.config == model.config
    assert loaded.metadata == model.metadata
    for name, value in weights(model).items():
        assert torch.equal(loaded.state_dict()[name], value), name
    export(loaded, tmp_path / "second.pth")
    first, second = (read_checkpoint(tmp_path / f"{n}.pth").weights for n in ("first", "second"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_class_heads_of_another_size_start_anew_and_are_named(base_model, tmp_path, caplog):
    """With num_classes given, everything but class_embed is the file's; classes are forgotten."""
    export_original(base_model, tmp_path / "original.pth")
    loaded, report = import_checkpoint(tmp_path / "original.pth", num_classes=3)
    assert {name.split(".")[0] for name in report.mismatched} == {"class_embed"}
    assert not report.missing
    assert "re-initialised for 3 classes" in caplog.text
    assert loaded(torch.zeros(1, 3, 64, 64)).pred_logits.shape == (1, 7, 3)
    torch.testing.assert_close(loaded.query_embed.weight, base_model.query_embed.weight)
    assert loaded.metadata.categories == ()


def test_a_class_head_that_differs_from_the_others_is_refused(base_model, tmp_path):
    """Nothing is re-initialised that nobody asked for."""
    state = weights(base_model) | {"class_embed.1.weight": torch.zeros(4, 32)}
    torch.save({"model": state}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"another shape .* class_embed\.1\.weight"):
        import_checkpoint(tmp_path / "odd.pth", **BARE)


def test_an_unknown_field_is_named(base_model, tmp_path):
    """Overrides are fields of ModelConfig, checked like any others."""
    export_original(base_model, tmp_path / "original.pth")
    with pytest.raises(CheckpointError, match="colour"):
        import_checkpoint(tmp_path / "original.pth", colour=3)
    with pytest.raises(CheckpointError, match="hidden_dim must be divisible"):
        import_checkpoint(tmp_path / "original.pth", nheads=5)


@pytest.mark.parametrize(
    ("text", "match"),
    [("{", "no JSON file"), ('{"model_type": "deformable_detr"}', "model.safetensors")],
)
def test_damaged_folders_are_explained(text, match, tmp_path):
    """A cut config.json and missing weights each have their sentence."""
    (tmp_path / "config.json").write_text(text)
    with pytest.raises((CheckpointError, FileNotFoundError), match=match):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [{"size": 480, "max_size": 640}, {"size": {"shortest_edge": 480, "longest_edge": 640}}],
)
def test_sizes_of_pictures_are_read_as_old_and_new_folders_say_them(settings, base_model, tmp_path):
    """Before 2023 the two sides were plain numbers."""
    export_huggingface(base_model, tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    preprocess = load_checkpoint(tmp_path).metadata.preprocess
    assert (preprocess["shortest_edge"], preprocess["max_size"]) == (480, 640)


def test_cut_weights_in_a_folder_are_named(base_model, tmp_path):
    """Half a safetensors file is no weights."""
    export_huggingface(base_model, tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors .* cut short"):
        load_checkpoint(tmp_path)


def test_sharded_folders_are_read_whole(base_model, tmp_path):
    """Large models come in several files and an index."""
    export_huggingface(base_model, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, chosen in shards.items():
        save_file({name: tensors[name] for name in chosen}, tmp_path / shard)
    index = {name: shard for shard, chosen in shards.items() for name in chosen}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert_same_answers(base_model, load_checkpoint(tmp_path))
