"""Keys and values of TAO's own specs, versions 4 to 7, that are not ours.

A key that has another name here is renamed, and a key without effect is removed with one notice,
both before the spec is checked: the config models know one name of each key.
"""

from __future__ import annotations

from typing import Any

from ddetr_cli.spec.tree import KeyPath, SpecError, SpecTree, dotted, with_texts

RENAMED: dict[KeyPath, KeyPath] = {
    ("model", "pretrained_model_path"): ("model", "pretrained_backbone_path"),
    ("train", "optim", "monitor_name"): ("train", "optim", "lr_monitor"),
}
# Of names that mean something else elsewhere in the spec: what to write for that.
_WORTH_A_NOTICE: dict[KeyPath, str] = {
    ("model", "pretrained_model_path"): "whole-model weights go to train.pretrained_model_path"
}
_NOT_GIVEN = (None, "", "???")
# A key or a whole block, and where to look instead.
WITHOUT_EFFECT: dict[KeyPath, str] = {
    ("model_name",): "there is one network",
    ("wandb",): "train.loggers=[wandb] logs to Weights & Biases",
    ("quantize",): "export.precision=int8_qdq and gen_trt_engine write INT8",
    ("model", "dld_model_dir_path"): "an edited model of that tool is not read",
    ("dataset", "quant_calibration_data_sources"): "export.calibration_image_dir names the images",
    ("dataset", "augmentation", "pad_size_divisor"): "padding never changes a detection",
    ("train", "cudnn"): "train.deterministic asks for deterministic algorithms",
    ("train", "checkpoint_interval_unit"): "epochs; train.checkpoint_interval_steps counts steps",
    ("train", "checkpointer"): "dd_model_best.pth is kept in any case",
    ("train", "input_width"): "dataset.augmentation sizes the images of a training",
    ("train", "input_height"): "dataset.augmentation sizes the images of a training",
    ("evaluate", "num_nodes"): "one machine scores",
    ("inference", "num_nodes"): "one machine labels",
    ("gen_trt_engine", "opset_version"): "the ONNX file has its opset",
}
# There -1 takes the value of another key, as null does here.
_MINUS_ONE_IS_NULL: tuple[KeyPath, ...] = (("evaluate", "batch_size"), ("inference", "batch_size"))
_BATCH: KeyPath = ("dataset", "batch_size")
_LEVELS: KeyPath = ("model", "num_feature_levels")
_INDICES: KeyPath = ("model", "return_interm_indices")
# The page's one list of each length.
_INDICES_OF = {1: [1], 2: [1, 2], 3: [1, 2, 3], 4: [1, 2, 3, 4], 5: [0, 1, 2, 3, 4]}
_WITHOUT_TRAINING_DATA = ("export", "gen_trt_engine")
_WITH_A_FINISHED_MODEL = ("evaluate", "inference", *_WITHOUT_TRAINING_DATA)


def rename_older_keys(tree: SpecTree) -> list[str]:
    """Give every key of RENAMED its name here, in values that refer to it too.

    Raises:
        SpecError: both names are given, with two values.
    """
    notices = []
    for old, new in RENAMED.items():
        tree.values = _with_renamed_reference(tree, old, new)
        value, location = tree.remove(old), tree.location_of(old)
        for path in [path for path in tree.origins if path[: len(old)] == old]:
            tree.origins.setdefault(new + path[len(old) :], tree.origins.pop(path))
        if value in _NOT_GIVEN:
            continue
        known = tree.get(new)
        if known not in _NOT_GIVEN and known != value:
            raise SpecError(
                f"{dotted(new)} and {dotted(old)} are one setting with two values: give one "
                f"({tree.location_of(new)})"
            )
        tree.assign(new, value, {new: tree.origins[new]})
        if old in _WORTH_A_NOTICE:
            notices.append(
                f"{dotted(old)} is read as {dotted(new)} ({location}); {_WORTH_A_NOTICE[old]}"
            )
    return notices


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


def _with_renamed_reference(tree: SpecTree, old: KeyPath, new: KeyPath) -> Any:
    """Rename the key in references such as `${old.key}` too."""
    before, after = (f"${{{dotted(path)}}}" for path in (old, new))
    return with_texts(tree.values, lambda text: text.replace(before, after))
