"""A commented spec: every key of a subtask with its meaning and its default."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ddetr_cli.spec.experiment import Experiment
from ddetr_cli.spec.key_table import REQUIRED, blocks_of, is_list_of_blocks, key_row
from ddetr_cli.spec.schema import DERIVED_KEYS
from ddetr_cli.spec.subtask_keys import SUBTASK_KEYS

SCHEMA_FILE = "ddetr.schema.json"
SCHEMA_COMMENT = "# yaml-language-server: $schema="
_WIDTH = 100
_INDENT = "  "
# What stands in a template although it is no default; folders and files are to be replaced.
_EXAMPLES = {
    "dataset.train_data_sources.image_dir": "/data/train/images",
    "dataset.train_data_sources.json_file": "/data/train/annotations.json",
    "dataset.val_data_sources.image_dir": "/data/val/images",
    "dataset.val_data_sources.json_file": "/data/val/annotations.json",
    "dataset.test_data_sources.image_dir": "/data/test/images",
    "dataset.test_data_sources.json_file": "/data/test/annotations.json",
    "dataset.infer_data_sources.image_dir": "/data/new",
    "dataset.num_classes": "auto",
    "results_dir": "results",
    "evaluate.checkpoint": "${results_dir}/train/dd_model_best.pth",
    "inference.checkpoint": "${results_dir}/train/dd_model_best.pth",
    "export.checkpoint": "${results_dir}/train/dd_model_best.pth",
    "export.onnx_file": "${results_dir}/export/model.onnx",
    "gen_trt_engine.onnx_file": "${results_dir}/export/model.onnx",
    "gen_trt_engine.trt_engine": "${results_dir}/gen_trt_engine/model.engine",
    "input_source": "/data/kitti/sequences.txt",
}
_WHOLE_MAIN = (
    "dataset.train_data_sources",
    "dataset.val_data_sources",
    "dataset.num_classes",
    "dataset.batch_size",
    "train.num_epochs",
    "evaluate.checkpoint",
    "inference.checkpoint",
    "export.checkpoint",
    "export.onnx_file",
    "results_dir",
)


def template(subtask: str | None = None) -> str:
    """Write the template of a subtask, or of all that share a spec.

    What matters is set; other keys stand behind a `#` with their defaults, one a line, and the text
    between `# ` and the line's end is prose. So each line may be uncommented alone.
    """
    keys = SUBTASK_KEYS[subtask] if subtask is not None else None
    model = Experiment if keys is None else keys.model
    blocks = () if keys is None else keys.blocks
    main = _WHOLE_MAIN if keys is None else keys.main
    lines = [*_head(subtask)]
    names = sorted(model.model_fields, key=lambda name: bool(blocks_of(model.model_fields[name])))
    for name in names:
        if not blocks or name in blocks:
            lines += ["", *_Writer(main).key((), name, model.model_fields[name])]
    return "\n".join(lines) + "\n"


def _head(subtask: str | None) -> Iterator[str]:
    yield f"{SCHEMA_COMMENT}{SCHEMA_FILE}"
    whose = "of every subtask" if subtask is None else f"of `ddetr {subtask}`"
    text = (
        f"Every key {whose}. One behind a # has the value that it has anyway: take the # away "
        "to change it. Folders and files are examples, to be replaced by yours. "
        f"`ddetr spec --schema > {SCHEMA_FILE}` makes the file with which editors complete keys."
    )
    yield from _prose(text, "")
    if subtask is None:
        yield from _prose(f"One subtask alone: ddetr spec, and {', '.join(SUBTASK_KEYS)}.", "")


class _Writer:
    """Writes keys line by line; knows which of them are set and not commented out."""

    def __init__(self, main: tuple[str, ...]) -> None:
        self._main = main

    def key(self, path: tuple[str, ...], name: str, field: FieldInfo) -> Iterator[str]:
        """Write a value with its meaning, or a block with all that is in it."""
        inside = (*path, name)
        if inside in DERIVED_KEYS:
            return
        indent = _INDENT * len(path)
        row = key_row(".".join(inside), field)
        yield from _prose(row.meaning, indent)
        inner = blocks_of(field)
        if not inner:
            example = _EXAMPLES.get(row.name) if row.name in self._main else None
            yield f"{indent}{self._sign(row.name)}{name}: {example or row.default}"
        elif is_list_of_blocks(field) or field.get_default(call_default_factory=True) is None:
            yield from self._optional_block(inside, inner[0], is_list=is_list_of_blocks(field))
        else:
            yield f"{indent}{name}:"  # with nothing set inside it counts as not given
            for each, of_block in inner[0].model_fields.items():
                yield from self.key(inside, each, of_block)

    def _optional_block(
        self, path: tuple[str, ...], block: type[BaseModel], *, is_list: bool
    ) -> Iterator[str]:
        """Write a block that may be absent as one line."""
        indent, name = _INDENT * (len(path) - 1), ".".join(path)
        required = [
            f"{key}: {_EXAMPLES.get(f'{name}.{key}', 'null')}"
            for key, field in block.model_fields.items()
            if key_row(key, field).default == REQUIRED
        ]
        entry = "{" + ", ".join(required) + "}"
        yield indent + self._sign(name) + f"{path[-1]}: " + (f"[{entry}]" if is_list else entry)

    def _sign(self, name: str) -> str:
        return "" if name in self._main else "#"


def _prose(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}# ",
        break_long_words=False,
        break_on_hyphens=False,
    )
