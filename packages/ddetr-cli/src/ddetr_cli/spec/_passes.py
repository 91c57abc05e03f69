"""The passes that a spec goes through between its file and its check, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pydantic import BaseModel, SecretStr

from ddetr_cli.passphrase import KEY_VARIABLE, key_of_environment
from ddetr_cli.spec._coercion import settle
from ddetr_cli.spec._interpolation import interpolate
from ddetr_cli.spec.overrides import apply_overrides
from ddetr_cli.spec.required_files import refuse_urls
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
    """Apply all passes to the tree; returns the notices for the person who wrote it.

    Args:
        tree: As the file has it, changed by the passes.
        model: The config model that checks it afterwards.
        task: The subtask that it is read for.
        overrides: `key.sub=value` each.
        is_flat: It is the spec of `convert`, which no other program has had.

    Raises:
        SpecError: a pass refuses the spec.
    """
    # Overrides come first: they may hold all that a file may, such as older names, `???` or `${a}`,
    # and the passes below then see both alike.
    apply_overrides(tree, overrides, partial(is_list, model))
    # Then names: the passes below ask the models what a key may hold, and those know one name.
    notices = rename_older_keys(tree, task, is_flat=is_flat)
    # Then values that are not given go, so that no later pass takes `???` or null for a value.
    settle(tree, model)
    if not is_flat:
        # Keys without effect go before references are resolved: theirs need not exist here.
        notices += drop_without_effect(tree)
        complete_for(tree, task)
    # References come late, for they may name any key that is left, completed ones too.
    interpolate(tree, model().model_dump(mode="json"))
    # URLs are seen when references are resolved.
    refuse_urls(tree, model)
    # The environment's passphrase comes last: a `${` in it is no reference.
    _fill_in_the_key(tree, model)
    return notices


def _fill_in_the_key(tree: SpecTree, model: type[BaseModel]) -> None:
    """Take the passphrase from the environment where the spec gives none, or a mask."""
    if "encryption_key" not in model.model_fields:
        return
    written = tree.values.get("encryption_key")
    if written in (None, _MASK) and (key := key_of_environment()):
        tree.values["encryption_key"] = key
    elif written == _MASK:
        location = tree.location_of(("encryption_key",))
        raise SpecError(
            f"encryption_key is masked ({location}); give it as an override or in {KEY_VARIABLE}"
        )
