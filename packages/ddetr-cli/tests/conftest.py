"""Specs on disk for the tests of the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ddetr_cli.spec import Experiment, load_spec

Load = Callable[..., Experiment]


@pytest.fixture(autouse=True)
def _no_key_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DDETR_ENCRYPTION_KEY", raising=False)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write a text as spec.yaml and load it with overrides."""

    def load_text(text: str = "", overrides: Sequence[str] = ()) -> Experiment:
        path = tmp_path / "spec.yaml"
        path.write_text(text, encoding="utf-8")
        return load_spec(Experiment, path, overrides).spec

    return load_text
