"""`ddetr spec`: a commented spec to start from, or the JSON Schema of specs."""

from __future__ import annotations

import json

from ddetr_cli.commands.arguments import TemplateArguments
from ddetr_cli.running import EXIT_SUCCESS
from ddetr_cli.spec import SUBTASK_KEYS, Experiment, SpecError, json_schema, template
from ddetr_cli.terminal import RunConsole
from ddetr_data.files import write_whole


def main(arguments: TemplateArguments, console: RunConsole) -> int:
    """Write the template or the schema, to standard output or to a new file.

    Raises:
        SpecError: there is no such subtask, or the file exists.
    """
    subtask, output = arguments.subtask, arguments.output
    if subtask is not None and subtask not in SUBTASK_KEYS:
        raise SpecError(
            f"{subtask!r} reads no spec; give none for the whole, or one of "
            f"{', '.join(SUBTASK_KEYS)}"
        )
    if output is not None and output.exists() and not arguments.overwrite:
        raise SpecError(f"{output} exists; give --overwrite, or another name")
    if arguments.schema:
        model = SUBTASK_KEYS[subtask].model if subtask is not None else Experiment
        text = json.dumps(json_schema(model), indent=1) + "\n"
    else:
        text = template(subtask)
    if output is None:
        console.document(text)
        return EXIT_SUCCESS
    output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(output, text)
    console.say(f"{output}: {'the schema' if arguments.schema else 'the template'}")
    return EXIT_SUCCESS
