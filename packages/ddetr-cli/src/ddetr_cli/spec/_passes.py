"""What is done to a spec between its file and its check, in the order it is done."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pydantic import BaseModel, SecretStr

from ddetr_cli.passphrase import KEY_VARIABLE, key_of_environment
from ddetr_cli.spec._coercion import settle
from ddetr_cli.spec._interpolation import interpolate
from ddetr_cli.spec.overrides import apply_overrides
from ddetr_cli.spec.schema import is_list
from ddetr_cli.spec.tao_specs import complete_for, drop_without_effect, rename_older_keys
from ddetr_cli.spec.tree import SpecError, SpecTree

_MASK = str(SecretStr("any"))


def read_through(
    tree: SpecTree,
    model: type[BaseModel],
    task: str | None,
    overrides: Sequence[str],
    *,
    is_flat: bool,
) -> list[str]:
    """Send the tree through all passes; gives what its reader should know.

    Args:
        tree: As the file has it, changed in place.
        model: What it is to become.
        task: The subtask that it is read for.
        overrides: `key.sub=value` each.
        is_flat: It is the spec of `convert`, which no other program has had.

    Raises:
        SpecError: a pass refuses the spec.
    """
    # Overrides are written as the file is, with every name and mark that it may have.
    apply_overrides(tree, overrides, partial(is_list, model))
    # From here on a key has one name, by which the models say what it may hold.
    notices = [] if is_flat else rename_older_keys(tree)
    # What is not given is not there any more, so that nothing later takes it for a value.
    settle(tree, model)
    if not is_flat:
        notices += drop_without_effect(tree)  # before anyone asks what such keys hold
        complete_for(tree, task)
    interpolate(tree, model().model_dump(mode="json"))  # it may take any key that is left
    _fill_in_the_key(tree, model)  # a passphrase may well hold a `${` that means nothing
    return notices


def _fill_in_the_key(tree: SpecTree, model: type[BaseModel]) -> None:
    """Take the passphrase from the environment where the spec gives none, or a mask."""
    if "encryption_key" not in model.model_fields:
        return
    written = tree.values.get("encryption_key")
    if written in (None, _MASK) and (key := key_of_environment()):
        tree.values["encryption_key"] = key
    elif written == _MASK:
        place = tree.place_of(("encryption_key",))
        raise SpecError(
            f"encryption_key is masked ({place}); give it as an override or in {KEY_VARIABLE}"
        )
