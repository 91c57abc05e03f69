"""`ddetr convert`: folders of label files as COCO shards, from a spec of flat keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ddetr_cli.running import Run, Subtask, Work
from ddetr_cli.spec import existing_images, given, optional_file
from ddetr_data import ConvertConfig
from ddetr_data.detection import Progress

if TYPE_CHECKING:
    from ddetr_data.convert import ConvertSummary, FoldSummary


def prepare(config: ConvertConfig, run: Run) -> Work:
    """Find a missing list of folders and missing class lists, then read and check all labels."""
    existing_images([str(given(config.input_source, "input_source"))], "input_source")
    optional_file(config.mapping_path, "mapping_path")
    optional_file(config.classmap, "classmap")
    from ddetr_data.convert import prepare_conversion

    write = prepare_conversion(config, on_progress=Progress(run.observers, "images"))
    return partial(_write, write, run)


def _write(write: Callable[[], ConvertSummary], run: Run) -> Mapping[str, float]:
    """Write the files, and show what was kept and what was dropped, by class and reason."""
    summary = write()
    _show(summary, run)
    dropped = sum(sum(counts.values()) for counts in summary.dropped.values())
    return {"images": summary.images, "annotations": summary.annotations, "dropped": dropped}


def _show(summary: ConvertSummary, run: Run) -> None:
    rows = [(each.name, str(each.id), str(summary.kept[each.name])) for each in summary.categories]
    run.console.table(f"{summary.images} images", ["class", "id", "objects"], rows)
    changes = [
        ("dropped", summary.dropped),
        ("repaired", summary.repaired),
        ("kept", summary.accepted),
    ]
    losses = [
        (reason, name, what, str(count))
        for what, reasons in changes
        for reason, counts in reasons.items()
        for name, count in counts.items()
    ]
    if losses:
        run.console.table("not taken as written", ["reason", "class", "what", "count"], losses)
    run.console.say(f"classes: {summary.classmap}")
    if summary.image_dir is not None:
        run.console.say(f"as a data source: image_dir: {summary.image_dir}")
    for fold in summary.folds:
        shards = f"{fold.images} images in {len(fold.json_files)} shards"
        run.console.say(f"{shards}, json_file: {_source_of(fold, run)}" if fold.images else shards)


def _source_of(fold: FoldSummary, run: Run) -> str:
    """What names the shards of this partition, and of no other."""
    prefix, _, _ = fold.json_files[0].name.partition("-shard-")
    return str(run.results_dir / f"{prefix}-shard-*.json")


SUBTASK = Subtask("convert", ConvertConfig, lambda spec: Path(spec.results_dir), prepare)
