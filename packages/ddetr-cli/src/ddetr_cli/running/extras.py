"""The parts that `pip install 'ddetr-cli[NAME]'` adds, whichever package asks for one."""

from __future__ import annotations

from typing import Any

from ddetr_data import InstallHint, MissingExtraError

EXTRAS = ("mlflow", "openvino", "ray", "remote", "serve", "tensorrt", "video", "wandb")
_PACKAGE = "ddetr-cli"


def in_our_name(said: Any) -> Any:
    """Give an error or a hint that names ddetr-cli's extra; everything else as it is."""
    if isinstance(said, MissingExtraError) and said.hint.extra in EXTRAS:
        return said.of(_PACKAGE)
    if isinstance(said, InstallHint) and said.extra in EXTRAS:
        return said.of(_PACKAGE)
    return said
