"""The extras of ddetr-cli, in the sentences that ask for one."""

from __future__ import annotations

import pytest

from ddetr_cli.running import sentence


@pytest.mark.parametrize(
    "text",
    [
        "serving needs FastAPI: install ddetr-export[serve]",
        "a.mp4 is a video: install ddetr-data[video] to read it",
        "train.loggers=[mlflow]: pip install 'ddetr-train[mlflow]'",
    ],
)
def test_a_missing_part_is_asked_for_under_one_name(text: str) -> None:
    """Whichever package misses it, ddetr-cli is what people have installed."""
    said = sentence(ValueError(text))
    assert "'ddetr-cli[" in said
    assert "''" not in said
    assert sentence(ValueError("install ddetr-data[torch]")) == "install ddetr-data[torch]"
