"""`ddetr migrate`: how each key of a spec for another program is read here."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from ddetr_cli.commands.arguments import FileArguments
from ddetr_cli.running import EXIT_BAD_INPUT, EXIT_SUCCESS
from ddetr_cli.spec import (
    KeyPath,
    SpecError,
    SpecTree,
    dotted,
    fate_of,
    load_spec,
    model_of,
    read_spec_file,
)
from ddetr_cli.terminal import RunConsole


def main(arguments: FileArguments, console: RunConsole) -> int:
    """Show for each key whether it is kept, renamed, without effect or unknown.

    Unknown keys, and values that no subtask would take, give 2.
    """
    spec_file = arguments.spec
    tree = read_spec_file(spec_file)
    model = model_of(tree)
    rows = [
        (dotted(path), tree.location_of(path), fate_of(path, model)) for path in written_keys(tree)
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
