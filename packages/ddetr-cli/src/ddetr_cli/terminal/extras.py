"""The parts that `pip install 'ddetr-cli[NAME]'` adds, in the sentences that ask for one."""

from __future__ import annotations

import re

EXTRAS = ("fast-scoring", "mlflow", "ray", "remote", "serve", "tensorrt", "video", "wandb")
_OF_A_SIBLING = re.compile(rf"'?ddetr-(?:data|train|export)\[({'|'.join(EXTRAS)})\]'?")


def with_our_extras(text: str) -> str:
    """Name ddetr-cli's extra where a sibling names its own: one thing to install, and quoted."""
    return _OF_A_SIBLING.sub(r"'ddetr-cli[\1]'", text)
