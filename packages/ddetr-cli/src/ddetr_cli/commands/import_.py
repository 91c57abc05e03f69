"""`ddetr import`: another program's checkpoint as one of ours, or ours as another program's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ddetr_cli.commands.arguments import ImportArguments, ImportLayout
from ddetr_cli.passphrase import key_of_environment
from ddetr_cli.running import EXIT_SUCCESS
from ddetr_cli.spec import SpecError, local_path, parse_value, split_override
from ddetr_cli.terminal import RunConsole

if TYPE_CHECKING:
    from ddetr_model import DeformableDETR, LoadReport

_COLUMNS = ("loaded", "missing", "unexpected", "mismatched")
_KEPT = ("categories", "preprocess", "metrics")  # of what a file says beside its architecture


def main(arguments: ImportArguments, console: RunConsole) -> int:
    """Read weights of any known layout, show how they cover the model, and write them.

    With a passphrase in the environment encrypted files are read, and ours are written encrypted.

    Raises:
        FileNotFoundError: there is no source.
        FileExistsError: the target is there.
        ValueError: the layout is unknown, tensors are missing, misshapen or unknown, the key does
            not open the source, or the layout to write cannot say this architecture.
    """
    fields = _model_fields(arguments)
    local_path(arguments.source, "the source")
    local_path(arguments.target, "-o")
    _refuse_to_overwrite(arguments.target)
    passphrase = key_of_environment()
    from ddetr_data.files import model_source
    from ddetr_model import import_checkpoint

    with model_source(arguments.source, passphrase) as source:
        model, report = import_checkpoint(
            source,
            strict=not arguments.allow_unknown,
            allow_partial=arguments.allow_partial,
            **fields,
        )
    _show_coverage(arguments.source, report, console)
    arguments.target.parent.mkdir(parents=True, exist_ok=True)
    _write(model, arguments, passphrase)
    is_readable = arguments.layout is not ImportLayout.ddetr and passphrase is not None
    note = ", which others can read without the key" if is_readable else ""
    console.say(f"{arguments.layout.value} layout: {arguments.target}{note}")
    return EXIT_SUCCESS


def _model_fields(arguments: ImportArguments) -> dict[str, Any]:
    """Give the fields that are to win over the source's, from `model.nheads=4` and the like."""
    fields: dict[str, Any] = {}
    for override in arguments.overrides or ():
        path, text = split_override(override)
        if len(path) != 2 or path[0] != "model":
            raise SpecError(f"{override!r} sets nothing here; write model.<field>=<value>")
        fields[str(path[1])], _ = parse_value(text, path, f"override {override}")
    if arguments.num_classes is not None:
        fields["num_classes"] = arguments.num_classes
    return fields


def _refuse_to_overwrite(target: Path) -> None:
    is_empty_folder = target.is_dir() and not any(target.iterdir())
    if target.exists() and not is_empty_folder:
        raise FileExistsError(f"{target} exists; give another name with -o")


def _show_coverage(source: Path, report: LoadReport, console: RunConsole) -> None:
    counts = report.by_part()
    rows = [(part, *(str(of_part[column]) for column in _COLUMNS)) for part, of_part in counts]
    console.table(f"tensors of {source}", ["part", *_COLUMNS], rows)
    for names, what in (
        (report.mismatched, "re-initialised for another number of classes"),
        (report.missing, "missing in the file and random"),
        (report.unexpected, "in the file and of no use to the model"),
    ):
        if names:
            console.say(f"{what}: {', '.join(names)}")


def _write(model: DeformableDETR, arguments: ImportArguments, passphrase: str | None) -> None:
    from ddetr_model import export_huggingface, export_original

    if arguments.layout is ImportLayout.huggingface:
        export_huggingface(model, arguments.target)
    elif arguments.layout is ImportLayout.original:
        export_original(model, arguments.target)
    else:
        _save(model, arguments.target, passphrase)


def _save(model: DeformableDETR, target: Path, passphrase: str | None) -> None:
    from ddetr_data.files import encrypting, write_whole
    from ddetr_model import save_checkpoint

    known = {name: getattr(model.metadata, name) for name in _KEPT} if model.metadata else {}
    if passphrase is None:
        save_checkpoint(model, target, **known)
        return

    def save_encrypted(file: BinaryIO) -> None:
        with encrypting(file, passphrase) as writer:
            save_checkpoint(model, writer, **known)

    write_whole(target, save_encrypted)
