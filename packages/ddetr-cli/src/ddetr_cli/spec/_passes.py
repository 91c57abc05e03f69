"""What is done to a spec between its file and its check, as one list in the order it is done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from pydantic import BaseModel, SecretStr

from ddetr_cli.passphrase import KEY_VARIABLE
from ddetr_cli.spec._coercion import settle
from ddetr_cli.spec._interpolation import interpolate
from ddetr_cli.spec.overrides import apply_overrides
from ddetr_cli.spec.schema import is_list
from ddetr_cli.spec.tao_specs import complete_for, drop_without_effect, rename_older_keys
from ddetr_cli.spec.tree import SpecError, SpecTree

_MASK = str(SecretStr("any"))


@dataclass(frozen=True)
class Reading:
    """What a spec is read for."""

    model: type[BaseModel]
    is_flat: bool  # the spec of `convert`, which no other program has had
    task: str | None
    overrides: Sequence[str]


Pass: TypeAlias = Callable[[SpecTree, Reading], Iterable[str]]  # changes the tree, gives notices


def read_through(tree: SpecTree, reading: Reading) -> list[str]:
    """Send the tree through all passes; gives what its reader should know.

    Raises:
        SpecError: a pass refuses the spec.
    """
    return [notice for each in PASSES for notice in each(tree, reading)]


def _lay_overrides(tree: SpecTree, reading: Reading) -> Iterable[str]:
    apply_overrides(tree, reading.overrides, partial(is_list, reading.model))
    return ()


def _rename(tree: SpecTree, reading: Reading) -> Iterable[str]:
    return () if reading.is_flat else rename_older_keys(tree)


def _settle(tree: SpecTree, reading: Reading) -> Iterable[str]:
    settle(tree, reading.model)
    return ()


def _drop(tree: SpecTree, reading: Reading) -> Iterable[str]:
    return () if reading.is_flat else drop_without_effect(tree)


def _complete(tree: SpecTree, reading: Reading) -> Iterable[str]:
    if not reading.is_flat:
        complete_for(tree, reading.task)
    return ()


def _fill_in_the_key(tree: SpecTree, reading: Reading) -> Iterable[str]:
    """Take the passphrase from the environment where the spec gives none, or a mask."""
    if "encryption_key" not in reading.model.model_fields:
        return ()
    written = tree.values.get("encryption_key")
    if written in (None, _MASK) and os.environ.get(KEY_VARIABLE):
        tree.values["encryption_key"] = os.environ[KEY_VARIABLE]
    elif written == _MASK:
        place = tree.place_of(("encryption_key",))
        raise SpecError(
            f"encryption_key is masked ({place}); give it as an override or in {KEY_VARIABLE}"
        )
    return ()


def _interpolate(tree: SpecTree, reading: Reading) -> Iterable[str]:
    interpolate(tree, reading.model().model_dump(mode="json"))
    return ()


PASSES: Sequence[Pass] = (
    _lay_overrides,  # they are written as the file is, with every name and mark that it may have
    _rename,  # from here on a key has one name, by which the models say what it may hold
    _settle,  # what is not given is not there any more, so that nothing later takes it for a value
    _drop,  # keys without effect, before anyone asks what they hold
    _complete,  # what the subtask does not need to be told
    _fill_in_the_key,  # not subject to `${...}`, which it may well contain
    _interpolate,  # last, for it may take the value of any key that is left
)
