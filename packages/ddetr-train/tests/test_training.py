"""What one run does: losses, options, and what it tells."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from ddetr_data.config import DataSource
from ddetr_model import DeformableDETR
from ddetr_train import TorchDetector, TrainConfig
from ddetr_train.checkpoints import BEST_NAME, LATEST_NAME
from ddetr_train.engine import prepare_training

FAST = {"num_epochs": 1}
# bf16 has 8 bits of mantissa; a loss near 14 after a few steps differs by less than this.
BF16_RELATIVE_ERROR = 0.02


def losses(recorder) -> list[float]:
    return [event.metrics["step_loss"] for event in recorder.of("step")]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / LATEST_NAME, weights_only=True)[
        "state_dict"
    ]
    return found


def test_the_loss_falls_on_a_few_images(run_training, recorder) -> None:
    """Six epochs at a high rate bring the loss well down."""
    options = {"lr": 2e-3, "lr_backbone": 2e-3, "lr_linear_proj_mult": 1.0}
    run_training(num_epochs=6, validation_interval=6, optim=options, clip_grad_norm=1.0)
    epochs = [event.metrics["train_loss"] for event in recorder.of("epoch")]
    assert epochs[-1] < 0.8 * epochs[0]


def test_the_same_seed_gives_the_same_losses(run_training, recorder, tmp_path) -> None:
    """Two runs agree to the bit, whatever the number of workers; another seed differs."""
    run_training(**FAST, results_dir=tmp_path / "first")
    first = losses(recorder)
    recorder.events.clear()
    torch.randn(7)
    run_training(**FAST, results_dir=tmp_path / "second")
    assert losses(recorder) == first
    recorder.events.clear()
    run_training(**FAST, results_dir=tmp_path / "third", seed=5)
    assert losses(recorder) != first


def test_workers_change_no_loss(run_training, dataset, recorder, tmp_path) -> None:
    """Batches loaded by other processes over two epochs are those of the main process."""
    run_training(results_dir=tmp_path / "none")
    alone = losses(recorder)
    recorder.events.clear()
    run_training(data=dataset.model_copy(update={"workers": 2}), results_dir=tmp_path / "two")
    assert losses(recorder) == alone


def test_activation_checkpointing_changes_no_weight(run_training, tmp_path) -> None:
    """Memory is saved, and nothing else."""
    for value in (True, False):
        run_training(**FAST, activation_checkpoint=value, results_dir=tmp_path / str(value))
    saved, kept = weights(tmp_path / "True"), weights(tmp_path / "False")
    assert all(torch.equal(saved[name], kept[name]) for name in saved)


@pytest.mark.slow
def test_compiling_keeps_the_loss_and_the_names(
    run_training, dataset, model_config, recorder, monkeypatch, tmp_path
) -> None:
    """The traced network computes what the plain one does, under the same weight names."""
    original = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: original(self, backend="eager"))
    slim = {"num_feature_levels": 1, "return_interm_indices": (1,), "dec_layers": 1}
    one_step = {"train_data_sources": dataset.val_data_sources, "batch_size": 3}
    parts = {
        "model": model_config.model_copy(update=slim),
        "data": dataset.model_copy(update=one_step),
    }
    run_training(**parts, is_dry_run=True)
    plain = losses(recorder)
    recorder.events.clear()
    run_training(**parts, num_epochs=1, compile=True)
    assert losses(recorder) == pytest.approx(plain, rel=1e-5)
    assert "model.query_embed.weight" in weights(tmp_path / "run")


def test_bf16_follows_fp32(run_training, recorder, tmp_path) -> None:
    """The loss curve of a run in bf16 is that of fp32 within its precision."""
    run_training(results_dir=tmp_path / "fp32")
    exact = losses(recorder)
    recorder.events.clear()
    run_training(results_dir=tmp_path / "bf16", precision="bf16")
    assert losses(recorder) == pytest.approx(exact, rel=BF16_RELATIVE_ERROR)
    assert losses(recorder) != exact


def test_fp16_on_the_cpu_says_what_it_does(run_training, recorder) -> None:
    """No silent change of precision."""
    run_training(**FAST, precision="fp16")
    assert "precision is bf16" in recorder.text()


@pytest.mark.parametrize(("limit", "is_clipped"), [(0.01, True), (0.0, False)])
def test_gradients_are_clipped_to_the_limit(run_training, monkeypatch, limit, is_clipped) -> None:
    """The norm of all gradients together is at most the limit; 0 leaves them alone."""
    norms: list[float] = []
    step = torch.optim.SGD.step

    def watch(self, closure=None):
        result = step(self, closure)
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.nn.utils.get_total_norm([g for g in gradients if g is not None])))
        return result

    monkeypatch.setattr(torch.optim.SGD, "step", watch)
    run_training(**FAST, clip_grad_norm=limit, optim={"optimizer": "SGD"})
    assert norms
    assert all((norm <= 0.01 * 1.001) == is_clipped for norm in norms)


def test_accumulating_makes_fewer_steps(run_training, recorder) -> None:
    """Five batches in groups of two make three steps an epoch."""
    run_training(**FAST, accumulate_grad_batches=2)
    assert recorder.of("started")[0].total_steps == 3
    assert recorder.of("epoch")[-1].step == 3


def test_a_last_smaller_group_of_batches_counts_as_a_whole_update(run_training, tmp_path) -> None:
    """Five batches are one update of the same size, whether a group may hold five or fifty."""
    options = {"num_epochs": 1, "optim": {"optimizer": "SGD"}, "clip_grad_norm": 0}
    run_training(**options, accumulate_grad_batches=5, results_dir=tmp_path / "full")
    run_training(**options, accumulate_grad_batches=50, results_dir=tmp_path / "begun")
    full, begun = weights(tmp_path / "full"), weights(tmp_path / "begun")
    assert all(torch.allclose(full[name], begun[name], rtol=1e-5, atol=1e-7) for name in full)


def test_frozen_modules_keep_their_weights(run_training, tmp_path, recorder) -> None:
    """Their tensors are those of the start, the others moved; the run says how many."""
    run_training(**FAST, freeze=["backbone", "transformer.encoder"], results_dir=tmp_path / "a")
    run_training(num_epochs=2, freeze=["backbone"], results_dir=tmp_path / "b")
    first, second = weights(tmp_path / "a"), weights(tmp_path / "b")
    still = [name for name in first if name.startswith("model.backbone")]
    assert all(torch.equal(first[name], second[name]) for name in still)
    moved = "model.transformer.encoder.layers.0.linear1.weight"
    assert not torch.equal(first[moved], second[moved])
    assert "do not train" in recorder.text()


def test_an_unknown_module_to_freeze_is_refused(run_training, recorder) -> None:
    """Before the first step, with the nearest names."""
    with pytest.raises(ValueError, match=r"transformer\.encoder"):
        run_training(freeze=["transformer.encoder_"])
    assert recorder.of("step") == []


def test_weights_to_start_from_are_reported(run_training, model_config, recorder, tmp_path) -> None:
    """A model of more classes takes all but the class heads, and says so."""
    first = run_training(**FAST)
    more = model_config.model_copy(update={"num_classes": 7})
    run_training(
        **FAST,
        model=more,
        results_dir=tmp_path / "tuned",
        pretrained_model_path=first.latest_checkpoint,
    )
    assert "class_embed.0.bias" in recorder.text()
    assert "of another shape and started anew" in recorder.text()


def test_what_a_backbone_file_covers_is_told(model_config, dataset, recorder, tmp_path) -> None:
    """How many tensors fitted, and the names of those that it lacks."""
    path = tmp_path / "backbone.pth"
    weights = DeformableDETR(model_config).backbone[0].body.state_dict()
    lost = next(iter(weights))
    torch.save({name: value for name, value in weights.items() if name != lost}, path)
    model = model_config.model_copy(update={"pretrained_backbone_path": str(path)})
    config = TrainConfig.model_validate(FAST | {"accelerator": "cpu"})
    prepare_training(model, dataset, config, tmp_path / "run", observers=[recorder])
    text = f"loaded {len(weights) - 1} tensors of backbone file {path}; 1 missing in the file"
    assert f"{text} ({lost})" in recorder.text()


def test_the_mean_of_the_weights_is_what_is_saved(run_training, tmp_path) -> None:
    """With a decay near 1 the saved weights lag far behind the trained ones."""
    run_training(ema_decay=0.9, results_dir=tmp_path / "run", optim={"lr": 1e-2})
    stored = torch.load(tmp_path / "run" / LATEST_NAME, weights_only=True)
    name = "model.class_embed.0.weight"
    assert not torch.equal(stored["state_dict"][name], stored["current_model_state"][name])
    TorchDetector(tmp_path / "run" / LATEST_NAME)


def test_deterministic_algorithms_are_insisted_on_while_it_runs(run_training) -> None:
    """PyTorch is told before the first step, and only when it is asked for."""
    seen = []

    def look(_event) -> None:
        seen.append(torch.are_deterministic_algorithms_enabled())

    run_training(**FAST, observers=[look])
    assert not any(seen)
    seen.clear()
    try:
        run_training(num_epochs=2, deterministic=True, observers=[look])
    finally:
        torch.use_deterministic_algorithms(False)
    assert seen[-1]


def test_the_rates_rise_from_update_to_update(run_training, recorder) -> None:
    """A warm-up of four updates has its full rate from the fifth on."""
    run_training(num_epochs=2, warmup_steps=4, optim={"lr": 1e-3})
    rates = [event.metrics["lr_base"] for event in recorder.of("step")]
    assert rates == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4] + [1e-3] * 6)


def test_a_dry_run_leaves_no_file(run_training, recorder, tmp_path) -> None:
    """One batch of training and of validation run, and the folder is not even made."""
    result = run_training(is_dry_run=True, num_epochs=5)
    assert (len(recorder.of("step")), len(recorder.of("validation"))) == (1, 1)
    assert result.latest_checkpoint is None
    assert not (tmp_path / "run").exists()


def test_validation_images_are_optional(run_training, dataset, recorder) -> None:
    """Without them a run has no validation and no best file."""
    result = run_training(**FAST, data=dataset.model_copy(update={"val_data_sources": ()}))
    assert recorder.of("validation") == []
    assert result.best_checkpoint is None
    assert result.latest_checkpoint is not None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"early_stopping_patience": 2}, "early_stopping_patience"),
        ({"optim": {"lr_scheduler": "AutoReduce"}}, "lr_monitor"),
    ],
)
def test_options_that_watch_a_validation_need_one(run_training, dataset, options, named) -> None:
    """The error comes before the first step."""
    with pytest.raises(ValueError, match=named):
        run_training(data=dataset.model_copy(update={"val_data_sources": ()}), **options)


@pytest.mark.parametrize(
    ("interval", "validated"), [(1, [0, 1, 2]), (2, [1, 2]), (3, [2]), (9, [2])]
)
def test_validation_runs_every_few_epochs_and_after_the_last(
    run_training, recorder, interval, validated
) -> None:
    """So there is a best checkpoint, however large the interval."""
    result = run_training(num_epochs=3, validation_interval=interval)
    assert [event.epoch for event in recorder.of("validation")] == validated
    assert result.best_checkpoint is not None
    assert "val_AP" in result.metrics


def test_training_stops_without_progress(run_training, recorder, tmp_path) -> None:
    """A model that cannot learn stops after the patience, and its last epoch is kept."""
    frozen = {"lr": 1e-12, "lr_backbone": 0, "lr_linear_proj_mult": 1e-3}
    result = run_training(
        num_epochs=9, early_stopping_patience=2, optim=frozen, checkpoint_interval=9
    )
    assert result.epochs == 3
    assert (tmp_path / "run" / "model_epoch_002.pth").is_file()


def test_class_ids_are_checked_before_the_first_step(run_training, model_config, recorder) -> None:
    """Too small a num_classes is a sentence with the number that would do."""
    with pytest.raises(ValueError, match="num_classes of at least 4"):
        run_training(model=model_config.model_copy(update={"num_classes": 3}))
    assert recorder.of("step") == []


def test_missing_labels_are_a_clear_error(run_training, dataset, tmp_path) -> None:
    """The missing path is named."""
    lost = DataSource(image_dir=str(tmp_path), json_file=str(tmp_path / "lost.json"))
    with pytest.raises(FileNotFoundError, match=r"lost\.json"):
        run_training(data=dataset.model_copy(update={"train_data_sources": (lost,)}))


def test_events_tell_a_run_in_order(run_training, recorder) -> None:
    """Steps count up to their total, and the time left falls to nothing."""
    run_training(**FAST)
    kinds = [event.kind for event in recorder.events if event.kind != "notice"]
    assert kinds == ["started", *["step"] * 5, "validation", "epoch", "checkpoint", "finished"]
    steps = recorder.of("step")
    assert [event.step for event in steps] == [1, 2, 3, 4, 5]
    assert {event.total_steps for event in steps} == {5}
    assert steps[-1].eta_seconds == 0


def test_verbose_reports_each_change_of_a_rate(run_training, recorder) -> None:
    """A decay after epoch 0 is one notice with all groups."""
    run_training(verbose=True, optim={"lr_steps": [1]})
    changes = [event for event in recorder.of("notice") if "learning rates" in event.message]
    assert len(changes) == 1
    assert "lr_base=2e-05" in changes[0].message
    rates = [event.metrics["lr_base"] for event in recorder.of("step")]
    assert rates == pytest.approx([2e-4] * 5 + [2e-5] * 5)


def test_the_console_stays_empty(run_training, capfd) -> None:
    """Nothing but the observers hears of a run."""
    run_training(**FAST)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert [line for line in captured.err.splitlines() if "ightning" in line] == []


def test_the_result_says_where_everything_is(run_training, tmp_path) -> None:
    """Paths, epochs and the last metrics come back."""
    result = run_training()
    assert result.best_checkpoint == tmp_path / "run" / BEST_NAME
    assert (result.epochs, result.seconds > 0) == (2, True)
    assert math.isfinite(result.metrics["val_loss"])
