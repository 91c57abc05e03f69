"""Keys and values of TAO's own specs, versions 4 to 7, that are not ours.

A key that has another name here is renamed, and a key without effect is removed with one notice,
both before the spec is checked: the config models know one name of each key.
"""

from __future__ import annotations

from typing import Any

from ddetr_cli.spec.tree import KeyPath, SpecError, SpecTree, dotted, merged, path_of, with_texts
from ddetr_cli.tao import OTHER_KEYS, key_named_here

RENAMED: dict[KeyPath, KeyPath] = {
    path_of(each.key): path_of(new) for each in OTHER_KEYS if (new := key_named_here(each, None))
}
# A key or a whole block, and where to look instead.
WITHOUT_EFFECT: dict[KeyPath, str] = {
    path_of(each.key): each.reason for each in OTHER_KEYS if not each.becomes
}
# The keys of RENAMED that the flat spec of `convert` has had.
_OF_CONVERT: tuple[KeyPath, ...] = (("output_dir",),)
_WORTH_A_NOTICE: dict[KeyPath, str] = {
    path_of(each.key): each.told for each in OTHER_KEYS if each.told
}
_NOT_GIVEN = (None, "", "???")
# There -1 takes the value of another key, as null does here.
_MINUS_ONE_IS_NULL: tuple[KeyPath, ...] = (("evaluate", "batch_size"), ("inference", "batch_size"))
_BATCH: KeyPath = ("dataset", "batch_size")
_LEVELS: KeyPath = ("model", "num_feature_levels")
_INDICES: KeyPath = ("model", "return_interm_indices")
# The page's one list of each length.
_INDICES_OF = {1: [1], 2: [1, 2], 3: [1, 2, 3], 4: [1, 2, 3, 4], 5: [0, 1, 2, 3, 4]}
_WITHOUT_TRAINING_DATA = ("export", "gen_trt_engine")
_WITH_A_FINISHED_MODEL = ("evaluate", "inference", *_WITHOUT_TRAINING_DATA)


def rename_older_keys(tree: SpecTree, task: str | None, *, is_flat: bool) -> list[str]:
    """Give every key of RENAMED its name here, in values that refer to it too.

    Args:
        task: What a key means may depend on the subtask, as that of `output_file` did.
        is_flat: It is the spec of `convert`.

    Raises:
        SpecError: both names are given, with two values.
    """
    notices = []
    for old, new in renamed_for(task, is_flat=is_flat).items():
        tree.values = _with_renamed_reference(tree, old, new)
        location = tree.location_of(old)
        if _rename(tree, old, new) and old in _WORTH_A_NOTICE:
            notices.append(
                f"{dotted(old)} is read as {dotted(new)} ({location}); {_WORTH_A_NOTICE[old]}"
            )
    return notices


def _rename(tree: SpecTree, old: KeyPath, new: KeyPath) -> bool:
    """Move a value to its name here, unless it is none, or an override of that name wins."""
    is_old_in_file, is_new_in_file = (_is_in_file(tree, path) for path in (old, new))
    value = tree.remove(old)
    for path in [path for path in tree.origins if path[: len(old)] == old]:
        tree.origins.setdefault(new + path[len(old) :], tree.origins.pop(path))
    if value in _NOT_GIVEN:
        return False
    known = tree.get(new)
    if isinstance(known, dict) and isinstance(value, dict):
        value = merged(known, value) if is_new_in_file else merged(value, known)
    elif known not in _NOT_GIVEN and known != value:
        if old in _WORTH_A_NOTICE or is_old_in_file == is_new_in_file:
            raise SpecError(
                f"{dotted(new)} and {dotted(old)} are one setting with two values: give one "
                f"({tree.location_of(new)})"
            )
        if is_old_in_file:
            return False
    inside = {path: at for path, at in tree.origins.items() if path[: len(new)] == new}
    tree.assign(new, value, inside)
    return True


def _is_in_file(tree: SpecTree, path: KeyPath) -> bool:
    return path not in tree.origins or tree.origins[path].in_file


def drop_without_effect(tree: SpecTree) -> list[str]:
    """Take out of the tree what has no effect here, and tell which keys that were.

    Raises:
        SpecError: a key without effect would change the run: checkpoints by steps.
    """
    unit = tree.get(("train", "checkpoint_interval_unit"))
    if unit not in (None, "epoch"):
        location = tree.location_of(("train", "checkpoint_interval_unit"))
        raise SpecError(
            f"train.checkpoint_interval_unit must be epoch, got {unit!r}; "
            f"train.checkpoint_interval_steps counts steps ({location})"
        )
    dropped = [path for path in WITHOUT_EFFECT if tree.remove(path) is not None]
    if not dropped:
        return []
    names = ", ".join(map(dotted, dropped))
    return [f"without effect here: {names}; `ddetr migrate -e SPEC` tells why"]


def complete_for(tree: SpecTree, task: str | None) -> None:
    """Read -1 as not given, and fill in what a subtask does not need to be told.

    Those that work on a finished model take its shape from the model's file, so there a block
    `model` may leave out what it would have to say for a training; those without training data may
    have a batch size of -1.
    """
    without_batch = (_BATCH,) if task in _WITHOUT_TRAINING_DATA else ()
    for path in (*_MINUS_ONE_IS_NULL, *without_batch):
        if tree.get(path) == -1:
            tree.remove(path)
    levels = tree.get(_LEVELS)
    may_be_completed = task in _WITH_A_FINISHED_MODEL and tree.get(_INDICES) is None
    if may_be_completed and isinstance(levels, int) and levels in _INDICES_OF:
        tree.values["model"]["return_interm_indices"] = list(_INDICES_OF[levels])


def reason_without_effect(path: KeyPath) -> str | None:
    """Say why the key, or the block that it is in, has no effect; None for every other key."""
    around = (path[:length] for length in range(1, len(path) + 1))
    return next((WITHOUT_EFFECT[block] for block in around if block in WITHOUT_EFFECT), None)


def renamed_for(task: str | None, *, is_flat: bool) -> dict[KeyPath, KeyPath]:
    """Give each older name and the one here, as the subtask means it."""
    if is_flat:
        return {old: RENAMED[old] for old in _OF_CONVERT}
    named = {path_of(each.key): key_named_here(each, task) for each in OTHER_KEYS}
    return {old: path_of(new) for old, new in named.items() if new is not None}


def _with_renamed_reference(tree: SpecTree, old: KeyPath, new: KeyPath) -> Any:
    """Rename the key in references such as `${old.key}` too."""
    before, after = (f"${{{dotted(path)}}}" for path in (old, new))
    return with_texts(tree.values, lambda text: text.replace(before, after))
