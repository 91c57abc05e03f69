"""`ddetr check`: every fault of a spec's data in one pass."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ddetr_cli.console import RunConsole
from ddetr_cli.progress import Progress
from ddetr_cli.spec import Experiment, load_spec
from ddetr_cli.spec_tree import SpecError


def check_data(
    spec_file: Path, overrides: Sequence[str], json_file: Path | None, console: RunConsole
) -> int:
    """Show all findings and give 0 for clean data, 1 for warnings, 2 for errors.

    Raises:
        SpecError: the spec is wrong or names no labelled data.
    """
    experiment = load_spec(Experiment, spec_file, overrides).spec
    dataset = experiment.dataset
    splits = {
        "train": dataset.train_data_sources,
        "val": dataset.val_data_sources,
        # The same data for validation and for test are one split, not a picture in two.
        "test": [it for it in dataset.test_data_sources if it not in dataset.val_data_sources],
    }
    if not any(splits.values()):
        raise SpecError(f"{spec_file} names no labelled data; set dataset.train_data_sources")
    from ddetr_data.check import CheckOptions, check_dataset

    num_classes = None if dataset.num_classes == "auto" else dataset.num_classes
    options = CheckOptions(
        num_classes=num_classes,
        num_queries=experiment.model.num_queries,
        workers=dataset.workers,
    )
    report = check_dataset(splits, options, on_progress=Progress(console.observe, "images"))
    console.close()
    if report.findings:
        columns = ["severity", "fault", "count", "file", "where", "what is done"]
        console.table("findings", columns, report.rows())
    console.say(
        f"{report.images} images, {report.annotations} objects, {len(report.findings)} findings"
    )
    if json_file is not None:
        json_file.write_text(json.dumps(report.to_dict(), indent=1), encoding="utf-8")
    return report.exit_status
