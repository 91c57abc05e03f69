"""What observers are told."""

from __future__ import annotations

import pytest

from ddetr_data.detection import Progress, RunEvent, emit, events


def test_progress_foretells_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time left assumes the same speed, and is not known before the first step is done."""
    now = iter([100.0, 100.0, 110.0, 120.0])
    monkeypatch.setattr(events.time, "monotonic", lambda: next(now))
    told: list[RunEvent] = []
    progress = Progress([told.append], "images")
    for done, total in ((0, 4), (1, 4), (2, None)):
        progress(done, total)
    assert told == [
        RunEvent("step", "images", step=0, total_steps=4),
        RunEvent("step", "images", step=1, total_steps=4, eta_seconds=30.0),
        RunEvent("step", "images", step=2),
    ]


def test_every_observer_is_told_in_turn() -> None:
    """What one raises ends the run, and the next one does not hear of it."""
    told: list[RunEvent] = []

    def refuse(event: RunEvent) -> None:
        raise RuntimeError(event.message)

    event = RunEvent("notice", "look")
    emit([told.append, told.append], event)
    assert told == [event, event]
    with pytest.raises(RuntimeError, match="look"):
        emit([refuse, told.append], event)
    assert len(told) == 2
