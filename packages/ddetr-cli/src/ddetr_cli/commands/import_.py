"""`ddetr import`: another program's checkpoint as one of ours."""

from __future__ import annotations

from pathlib import Path

from ddetr_cli.console import RunConsole
from ddetr_cli.ending import EXIT_SUCCESS


def import_weights(source: Path, target: Path, allow_partial: bool, console: RunConsole) -> int:
    """Read the original authors', Hugging Face's or TAO's weights and write a checkpoint.

    Raises:
        FileNotFoundError: there is no source.
        FileExistsError: the target is there.
        ValueError: the layout is unknown, or tensors are missing or misshapen.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists; give another name for the checkpoint")
    from ddetr_model import import_checkpoint, save_checkpoint

    model, report = import_checkpoint(source, allow_partial=allow_partial)
    metadata = model.metadata
    save_checkpoint(
        model,
        target,
        categories=metadata.categories if metadata else (),
        preprocess=metadata.preprocess if metadata else None,
    )
    rows = [
        (what, str(len(names)), ", ".join(names[:3]))
        for what, names in (
            ("loaded", report.loaded),
            ("missing in the file", report.missing),
            ("unknown to the model", report.unexpected),
            ("of another shape", report.mismatched),
        )
    ]
    console.table(str(source), ["tensors", "count", "such as"], rows)
    console.say(f"checkpoint: {target}")
    return EXIT_SUCCESS
