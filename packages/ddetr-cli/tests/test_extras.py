"""The extras of ddetr-cli, in the sentences that ask for one."""

from __future__ import annotations

import logging
import pickle

import pytest

from ddetr_cli.running import EXTRAS, RunLog, sentence
from ddetr_data import InstallHint, MissingExtraError

logger = logging.getLogger("ddetr_data.somewhere")


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("package", ["ddetr-data", "ddetr-train", "ddetr-export"])
def test_a_missing_part_is_asked_for_under_one_name(extra: str, package: str) -> None:
    """Whichever package misses it, ddetr-cli is what people have installed."""
    error = MissingExtraError("a.mp4 is a video", InstallHint(extra, package), " to read it")
    assert str(error) == f"a.mp4 is a video: pip install '{package}[{extra}]' to read it"
    said = f"a.mp4 is a video: pip install 'ddetr-cli[{extra}]' to read it"
    assert sentence(error) == said
    assert sentence(pickle.loads(pickle.dumps(error))) == said  # as from another process


def test_what_ddetr_cli_has_no_extra_for_keeps_its_name() -> None:
    """Its own package is then the one to install."""
    error = MissingExtraError("a.yaml is YAML", InstallHint("yaml"))
    assert sentence(error) == str(error) == "a.yaml is YAML: pip install 'ddetr-data[yaml]'"


def test_a_warning_asks_under_one_name_too(tmp_path) -> None:
    """The person reads ddetr-cli; the log keeps what the package said."""
    notices: list[str] = []
    with RunLog(notices.append, secret=None) as log:
        log.open(tmp_path / "run.log")
        logger.warning("videos=%d are left out: %s", 2, InstallHint("video"))
    assert notices == ["videos=2 are left out: pip install 'ddetr-cli[video]'"]
    assert "pip install 'ddetr-data[video]'" in (tmp_path / "run.log").read_text()
