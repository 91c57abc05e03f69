"""The extras of ddetr-cli: what the sentences ask for can be installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddetr_cli.ending import sentence
from ddetr_cli.extras import EXTRAS

MANIFEST = Path(__file__).resolve().parent.parent / "pyproject.toml"


def test_every_extra_that_is_named_exists() -> None:
    """The manifest offers them all, and no others."""
    text = MANIFEST.read_text("utf-8").partition("[project.optional-dependencies]\n")[2]
    lines = text.partition("\n\n")[0].splitlines()
    assert [line.partition(" =")[0] for line in lines] == sorted(EXTRAS)


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
