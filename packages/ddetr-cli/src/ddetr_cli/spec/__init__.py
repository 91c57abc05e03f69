"""Reading and checking specs; every wrong value is named with its file and line."""

from ddetr_cli.spec.commented_spec import SCHEMA_COMMENT, SCHEMA_FILE, template
from ddetr_cli.spec.experiment import (
    Experiment,
    LoadedSpec,
    Spec,
    load_spec,
    load_tree,
    model_of,
    spec_yaml,
)
from ddetr_cli.spec.fates import fate_of
from ddetr_cli.spec.key_table import KeyRow, blocks_of, key_row, key_rows
from ddetr_cli.spec.overrides import apply_overrides, split_override
from ddetr_cli.spec.plain_values import tree_of_values
from ddetr_cli.spec.required_files import (
    existing_file,
    existing_images,
    existing_model,
    existing_sources,
    given,
    local_path,
    optional_file,
)
from ddetr_cli.spec.schema import DERIVED_KEYS, arms, arms_at, known_keys, nearest_key
from ddetr_cli.spec.schema_document import json_schema
from ddetr_cli.spec.subtask_keys import SUBTASK_KEYS, SubtaskKeys
from ddetr_cli.spec.tao_specs import RENAMED, WITHOUT_EFFECT, reason_without_effect
from ddetr_cli.spec.tree import KeyPath, SpecError, SpecTree, dotted
from ddetr_cli.spec.yaml_tree import parse_spec, parse_value, read_spec_file

__all__ = [
    "DERIVED_KEYS",
    "RENAMED",
    "SCHEMA_COMMENT",
    "SCHEMA_FILE",
    "SUBTASK_KEYS",
    "WITHOUT_EFFECT",
    "Experiment",
    "KeyPath",
    "KeyRow",
    "LoadedSpec",
    "Spec",
    "SpecError",
    "SpecTree",
    "SubtaskKeys",
    "apply_overrides",
    "arms",
    "arms_at",
    "blocks_of",
    "dotted",
    "existing_file",
    "existing_images",
    "existing_model",
    "existing_sources",
    "fate_of",
    "given",
    "json_schema",
    "key_row",
    "key_rows",
    "known_keys",
    "load_spec",
    "load_tree",
    "local_path",
    "model_of",
    "nearest_key",
    "optional_file",
    "parse_spec",
    "parse_value",
    "read_spec_file",
    "reason_without_effect",
    "spec_yaml",
    "split_override",
    "template",
    "tree_of_values",
]
