"""Processes on several machines begin at one checkpoint, or hear which does not see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddetr_train.callbacks import SameStart


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        ([("a", 7), ("b", 7)], None),
        ([("a", None), ("b", None)], None),
        (
            [("a", 7), ("b", None)],
            "node b does not see .* /runs/1: it begins anew, the first behind",
        ),
        ([("a", None), ("b", 7)], "node b .* it begins behind step 7, the first anew"),
    ],
)
def test_a_node_without_the_folder_is_named(
    seen: list[tuple[str, int | None]], sentence: str | None
) -> None:
    """One that would begin anew beside others that continue would spoil the run."""
    # fault 59
    callback = SameStart(Path("/runs/1"), seen[0][1], lambda mine: [mine, *seen[1:]])
    if sentence is None:
        callback.setup(None, None, "fit")  # type: ignore[arg-type]
        return
    with pytest.raises(ValueError, match=sentence):
        callback.setup(None, None, "fit")  # type: ignore[arg-type]
