"""What a run says when its figures show that nothing is learnt."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from ddetr_train.config import OptimizerConfig, TrainConfig
from ddetr_train.learning_guard import (
    EMPTY_UPDATES,
    FLAT_EPOCHS,
    EpochFigures,
    LearningGuard,
    averaging_notice,
)

CONFIG = TrainConfig(num_epochs=20)
A_LOT = 300  # updates an epoch

Epoch = tuple[float, float | None]  # train_loss, val_AP


def said(
    epochs: Iterable[Epoch],
    *,
    updates: int = A_LOT,
    first_batch: float = 15.0,
    config: TrainConfig = CONFIG,
    is_ended: bool = False,
    resumed_after: int | None = None,
) -> list[tuple[int, str]]:
    """Play figures to a guard; gives epoch and beginning of what it says."""
    guard, told, rows = LearningGuard(config), [], list(epochs)
    guard.note_batch(first_batch, 0)
    for epoch, (loss, score) in enumerate(rows):
        is_last = is_ended and epoch + 1 == len(rows)
        figures = EpochFigures(epoch, loss, score, (epoch + 1) * updates, is_last)
        told += [(epoch, text) for text in guard.after_epoch(figures)]
        guard.note_batch(99.0, epoch + 1)
        if epoch == resumed_after:
            state, guard = guard.state, LearningGuard(config)
            guard.restore(state)
    return told


FALLING = [(10 * 0.9**n, 0.05 * n) for n in range(12)]
FLAT = [(10 + 0.2 * (-1) ** n, 0.0) for n in range(12)]  # 2 % around its mean
RISING = [(10.0, 0.0), (9.0, 0.1), *[(14.0 + n, 0.0) for n in range(9)]]
EMPTY = [(10 * 0.9**n, 0.0002) for n in range(12)]


def test_a_run_that_learns_is_left_alone() -> None:
    """Falling losses with rising scores, or without any validation."""
    assert said(FALLING, is_ended=True) == []
    assert said([(loss, None) for loss, _ in FALLING], is_ended=True) == []


def test_a_loss_that_stays() -> None:
    """Told once, with both losses and the keys, after the epochs that it has to fall."""
    ((epoch, text),) = said(FLAT)
    assert epoch == FLAT_EPOCHS
    assert text.startswith("the training loss has not fallen: 10.2 in its first epoch, 9.933 in ")
    for key in ("train.optim.lr (0.0002)", "train.freeze", "train.clip_grad_norm (0.1)"):
        assert key in text


def test_a_loss_that_stays_where_the_run_began_trained() -> None:
    """With an AP, or weights that were trained and nothing to score them, it may be at its end."""
    tuned = CONFIG.model_copy(update={"pretrained_model_path": "some.pth"})
    assert said([(loss, 0.4) for loss, _ in FLAT]) == []
    assert said([(loss, None) for loss, _ in FLAT], config=tuned) == []
    assert len(said(FLAT, config=tuned)) == 1


def test_a_loss_that_rises() -> None:
    """Three epochs in a row above the first one: told once, and not that it is flat too."""
    ((epoch, text),) = said(RISING)
    assert epoch == 4
    assert text.startswith("the training loss rises: it began with 10, and was 14 or more")
    assert "divide train.optim.lr (0.0002) by ten" in text


def test_a_loss_that_rises_within_the_first_epoch() -> None:
    """Then the first batch tells where it began."""
    huge = [(400.0, 0.0)] * 5
    ((epoch, text),) = said(huge)
    assert epoch == 3
    assert "it began with 15, and was 400" in text
    assert said(huge, first_batch=390.0) == []


def test_no_detection_though_the_loss_falls() -> None:
    """After three validations and a thousand updates, with what to look at."""
    ((epoch, text),) = said(EMPTY)
    assert (epoch + 1) * A_LOT >= EMPTY_UPDATES
    assert text.startswith("the AP is still 0 after 1200 updates and 4 validations")
    for key in ("ddetr check", "dataset.augmentation.scales", "train.optim.lr"):
        assert key in text


def test_a_run_that_ends_before_it_can_detect() -> None:
    """A few updates are too few: more epochs are what it needs."""
    ((epoch, text),) = said(EMPTY[:3], updates=10, is_ended=True)
    assert epoch == 2
    assert text.startswith("the run ends with an AP of 0, after 30 updates")
    assert "train.num_epochs" in text
    assert said(EMPTY[:3], updates=10) == []


def test_a_handful_of_updates_says_nothing_of_the_loss() -> None:
    """Seven epochs of four updates."""
    assert said(FLAT[:7], updates=4) == []
    assert said(RISING[:7], updates=4) == []


@pytest.mark.parametrize("figures", [FALLING, FLAT, RISING, EMPTY])
def test_a_resume_changes_nothing(figures: list[Epoch]) -> None:
    """Whenever it is, the same is said at the same epoch, once."""
    whole = said(figures)
    for epoch in range(len(figures)):
        assert said(figures, resumed_after=epoch) == whole


def test_a_memory_that_lacks_the_beginning_judges_no_loss() -> None:
    """As behind a checkpoint that was written before there was a guard."""
    guard = LearningGuard(CONFIG)
    later = [EpochFigures(n, 10.0, 0.5, 5000 + 300 * n) for n in range(5, 15)]
    assert [text for each in later for text in guard.after_epoch(each)] == []


def test_an_average_over_more_updates_than_there_are() -> None:
    """0.9998 over 500 updates leaves nine tenths of the first weights; the advice leaves none."""
    config = TrainConfig(ema_decay=0.9998)
    text = averaging_notice(config, 500) or ""
    assert text.startswith(
        "train.ema_decay 0.9998 averages over more updates than the run has (500)"
    )
    assert "90% of what is validated" in text
    assert "set train.ema_decay to 0.98 or less" in text
    assert averaging_notice(config, 50_000) is None
    assert averaging_notice(TrainConfig(), 1) is None
    assert averaging_notice(TrainConfig(ema_decay=0.98), 500) is None


NOT_MOVING = OptimizerConfig(lr=1e-12, lr_backbone=0.0)


def test_a_learning_rate_of_nothing(run_training, recorder, dataset) -> None:
    """A whole run, stopped half way and continued: one warning, with its epoch."""
    still = {"train_random_crop_min": 64, "horizontal_flip_prob": 0.0}
    augmentation = dataset.augmentation.model_copy(update=still)
    alone = dataset.model_copy(update={"val_data_sources": (), "augmentation": augmentation})
    for epochs in (3, 7):
        run_training(data=alone, num_epochs=epochs, optim=NOT_MOVING)
    warnings = [event for event in recorder.of("notice") if event.is_warning]
    (event,) = [each for each in warnings if "has not fallen" in each.message]
    assert event.epoch == FLAT_EPOCHS


def test_a_learning_rate_that_is_far_too_large(run_training, recorder, dataset) -> None:
    """The loss leaves the range in which it began."""
    alone = dataset.model_copy(update={"val_data_sources": ()})
    run_training(data=alone, num_epochs=6, optim=OptimizerConfig(lr=10.0, lr_backbone=10.0))
    assert "the training loss rises" in recorder.text()


def test_what_is_known_before_the_first_step(run_training, recorder, dataset, model_config) -> None:
    """Too few queries, boxes below a stride and a mean over too many updates, as warnings."""
    small = dataset.augmentation.model_copy(update={"scales": (16,), "random_resize_max_size": 16})
    run_training(
        data=dataset.model_copy(update={"augmentation": small}),
        model=model_config.model_copy(update={"num_queries": 2, "num_select": 4}),
        num_epochs=1,
        ema_decay=0.9998,
    )
    warnings = [event.message for event in recorder.of("notice") if event.is_warning]
    for part in ("model.num_queries (2)", "the finest stride", "train.ema_decay", "an AP of 0"):
        assert sum(part in text for text in warnings) == 1, part
