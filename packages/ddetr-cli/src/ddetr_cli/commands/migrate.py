"""`ddetr migrate`: how each key of a spec for another program is read here."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from ddetr_cli.commands.arguments import FileArguments
from ddetr_cli.running import EXIT_BAD_INPUT, EXIT_SUCCESS
from ddetr_cli.spec import (
    DERIVED_KEYS,
    RENAMED,
    Experiment,
    KeyPath,
    SpecError,
    SpecTree,
    arms_at,
    dotted,
    known_keys,
    load_spec,
    model_of,
    nearest_key,
    read_spec_file,
    reason_without_effect,
)
from ddetr_cli.terminal import RunConsole

_WITHOUT_EFFECT = "Accepted"  # how the description of such a key begins


def main(arguments: FileArguments, console: RunConsole) -> int:
    """Show for each key whether it is kept, renamed, without effect or unknown.

    Unknown keys, and values that no subtask would take, give 2.
    """
    spec_file = arguments.spec
    tree = read_spec_file(spec_file)
    model = model_of(tree)
    rows = [
        (dotted(path), tree.location_of(path), _fate(path, model)) for path in written_keys(tree)
    ]
    if rows:
        console.table(str(spec_file), ["key", "location", "here"], rows)
    unknown = sum(fate.startswith("unknown") for _, _, fate in rows)
    console.say(f"{len(rows)} keys, {unknown} of them unknown")
    faults = _faults_of_values(spec_file, model)
    for fault in faults:
        console.fail(fault)
    return EXIT_BAD_INPUT if unknown or faults else EXIT_SUCCESS


def written_keys(tree: SpecTree) -> list[KeyPath]:
    """List the keys of the file that hold values, not blocks; of a list's entries each key once."""
    blocks = {path[:length] for path in tree.origins for length in range(len(path))}
    leaves = [path for path in tree.origins if path not in blocks]
    return list(dict.fromkeys(_first_of_list(path) for path in leaves if path))


def _faults_of_values(spec_file: Path, model: type[BaseModel]) -> list[str]:
    """Load the spec as the most lenient subtask would; unknown keys stand in the table already."""
    try:
        load_spec(model, spec_file, task="export")
    except SpecError as error:
        return [line for line in str(error).splitlines() if not line.startswith("unknown key")]
    return []


def _first_of_list(path: KeyPath) -> KeyPath:
    """Drop the index of a value in a list; keys of a list's entries all get index 0."""
    trimmed = path[:-1] if isinstance(path[-1], int) else path
    return tuple(0 if isinstance(key, int) else key for key in trimmed)


def _fate(path: KeyPath, model: type[BaseModel]) -> str:
    known = dict(known_keys(model))
    if path in RENAMED:
        return f"renamed: {dotted(RENAMED[path])}; the old name is read too"
    reason = reason_without_effect(path) if model is Experiment else None
    if reason is not None:
        return f"without effect: {reason}"
    if path in DERIVED_KEYS or not arms_at(model, path):
        nearest = nearest_key(model, path)
        return "unknown" + (f"; perhaps {nearest}" if nearest else "")
    field = known.get(path)  # none for a name in a dict, or a key of a list's one bare entry
    description = (field and field.description) or ""
    is_kept = not description.startswith(_WITHOUT_EFFECT)
    return "kept" if is_kept else f"without effect: {description}"
