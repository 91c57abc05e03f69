"""What TAO's versions 4 to 7 know of this network: options, subtasks, keys, and what is ours."""

from ddetr_cli.tao.command_line import (
    Adapted,
    CommandLineError,
    adapted,
    without_product_words,
)
from ddetr_cli.tao.keys import KEYS, KeysOf
from ddetr_cli.tao.options import ENCRYPTING_SUBTASKS, OPTIONS, SUBTASKS, Option, OtherSubtask
from ddetr_cli.tao.other_keys import OTHER_KEYS, OtherKey, key_named_here
from ddetr_cli.tao.sources import NOT_COVERED, SOURCES, Source

__all__ = [
    "ENCRYPTING_SUBTASKS",
    "KEYS",
    "NOT_COVERED",
    "OPTIONS",
    "OTHER_KEYS",
    "SOURCES",
    "SUBTASKS",
    "Adapted",
    "CommandLineError",
    "KeysOf",
    "Option",
    "OtherKey",
    "OtherSubtask",
    "Source",
    "adapted",
    "key_named_here",
    "without_product_words",
]
