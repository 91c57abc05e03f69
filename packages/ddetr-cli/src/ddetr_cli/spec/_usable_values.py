"""Values that no key can take, whatever its limits: told before a library stumbles over them."""

from __future__ import annotations

import os
import re
from typing import Any

from pydantic import BaseModel

from ddetr_cli.masking import MASK
from ddetr_cli.spec.schema import takes_number
from ddetr_cli.spec.tree import KeyPath, SpecError, SpecTree, dotted, shortened
from ddetr_data import shown_text

_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+(\.[0-9_]*)?([eE].*)?")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BITS = 63  # of the whole numbers that the libraries hold, beside the sign
_BELOW = 2**_BITS
_MASKED_PASSWORD = f":{MASK}@"


def refuse_leading_zeros(value: Any, path: KeyPath, tree: SpecTree, model: type[BaseModel]) -> None:
    """Refuse 0123, which is 83 in YAML 1.1 and 123 elsewhere.

    Raises:
        SpecError: it is such a number.
    """
    if not (isinstance(value, str) and _LEADING_ZERO.fullmatch(value)):
        return
    if takes_number(model, path):
        plain = value.lstrip("+-").lstrip("0_") or "0"
        raise _fault(
            f"must be a number without leading zeros, got {shortened(value)}: some read it as "
            f"octal; write {shortened(plain)}",
            path,
            tree,
        )


def refuse_huge_numbers(spec: BaseModel, tree: SpecTree) -> None:
    """Refuse whole numbers that no limit of their own has refused, and no library holds.

    Raises:
        SpecError: a number has more than 63 bits.
    """

    def look_at(node: Any, path: KeyPath) -> None:
        if isinstance(node, (dict, list, tuple)):
            for key, child in node.items() if isinstance(node, dict) else enumerate(node):
                look_at(child, (*path, key))
        elif isinstance(node, int) and abs(node) >= _BELOW:
            raise _fault(f"must be a number below 2^{_BITS}", path, tree)

    look_at(spec.model_dump(), ())


def refuse_unusable_text(value: str, path: KeyPath, tree: SpecTree) -> None:
    """Refuse what no file's name can hold, and a URL whose password was starred out.

    Raises:
        SpecError: it is such a text.
    """
    if "\0" in value:
        raise _fault("must hold no NUL character", path, tree)
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        raise _fault("must be text, it holds half of a surrogate pair", path, tree) from None
    if "://" in value and _MASKED_PASSWORD in value:
        raise _fault(f"holds {MASK} for a password; write it anew", path, tree)


def refuse_unusable_key(key: str, path: KeyPath, tree: SpecTree) -> None:
    """Refuse a key that is no text; a file's name may be other bytes, a key's not.

    Raises:
        SpecError: it is such a key.
    """
    if "\0" in key or _SURROGATE.search(key):
        location, shown = tree.location_of((*path, key)), shown_text(shortened(key))
        raise SpecError(f"a key must be text in UTF-8, got {shown} ({location})")


def _fault(rule: str, path: KeyPath, tree: SpecTree) -> SpecError:
    location = tree.location_of(path)
    return SpecError(f"{shortened(dotted(path))} {rule}" + (f" ({location})" if location else ""))
