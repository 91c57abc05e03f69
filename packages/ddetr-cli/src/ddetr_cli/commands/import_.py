"""`ddetr import`: another program's checkpoint as one of ours, or ours as another program's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ddetr_cli.running import EXIT_SUCCESS
from ddetr_cli.spec import SpecError, parse_value, split_override
from ddetr_cli.terminal import RunConsole

if TYPE_CHECKING:
    from ddetr_model import DeformableDETR, LoadReport

Layout = Literal["ddetr", "huggingface", "original"]
_COLUMNS = ("loaded", "missing", "unexpected", "mismatched")


@dataclass(frozen=True)
class ImportOptions:
    """What to read, what to write, and what the source does not tell."""

    source: Path
    target: Path
    layout: Layout = "ddetr"
    num_classes: int | None = None
    allow_partial: bool = False
    overrides: Sequence[str] = ()  # model.<field>=<value>


def import_weights(options: ImportOptions, console: RunConsole) -> int:
    """Read weights of any known layout, show how they cover the model, and write them.

    Raises:
        FileNotFoundError: there is no source.
        FileExistsError: the target is there.
        ValueError: the layout is unknown, tensors are missing or misshapen, or the layout to write
            cannot say this architecture.
    """
    fields = _model_fields(options)
    _refuse_to_overwrite(options.target)
    from ddetr_model import import_checkpoint

    model, report = import_checkpoint(options.source, allow_partial=options.allow_partial, **fields)
    _show_coverage(options.source, report, console)
    options.target.parent.mkdir(parents=True, exist_ok=True)
    _writer(options.layout)(model, options.target)
    console.say(f"{options.layout} layout: {options.target}")
    return EXIT_SUCCESS


def _model_fields(options: ImportOptions) -> dict[str, Any]:
    """Give the fields that are to win over the source's, from `model.nheads=4` and the like."""
    fields: dict[str, Any] = {}
    for override in options.overrides:
        path, text = split_override(override)
        if len(path) != 2 or path[0] != "model":
            raise SpecError(f"{override!r} sets nothing here; write model.<field>=<value>")
        fields[str(path[1])] = parse_value(text, path, f"override {override}").values["value"]
    if options.num_classes is not None:
        fields["num_classes"] = options.num_classes
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


def _writer(layout: Layout) -> Callable[[DeformableDETR, Path], None]:
    from ddetr_model import export_huggingface, export_original

    writers = {
        "ddetr": _save,
        "huggingface": export_huggingface,
        "original": export_original,
    }
    return writers[layout]


def _save(model: DeformableDETR, target: Path) -> None:
    from ddetr_model import save_checkpoint

    metadata = model.metadata
    save_checkpoint(
        model,
        target,
        categories=metadata.categories if metadata else (),
        preprocess=metadata.preprocess if metadata else None,
    )
