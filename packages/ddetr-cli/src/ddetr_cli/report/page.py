"""The report of a training, an evaluation or two runs, from the files that they left."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from ddetr_cli.masking import without_passwords
from ddetr_cli.report._commands import (
    command_sections,
    commands_of_model,
    commands_of_run,
    own_command,
)
from ddetr_cli.report._doubts import doubt_sections
from ddetr_cli.report._sections import (
    Code,
    Section,
    mistake_sections,
    score_sections,
    training_section,
    warning_sections,
)
from ddetr_cli.report._worst_images import worst_section
from ddetr_cli.report.comparison import Comparison
from ddetr_cli.report.comparison_sections import comparison_sections
from ddetr_cli.report.history import read_history, read_warnings
from ddetr_cli.report.mistakes import find_mistakes, read_detections
from ddetr_cli.report.threshold_override import threshold_sections
from ddetr_data import DEFAULT_MAX_DETECTIONS, Judge, shown_text
from ddetr_data.coco import DetectionSet
from ddetr_data.detection import LabelNoise
from ddetr_data.files import write_whole
from ddetr_data.scoring import BestThreshold
from ddetr_train import VALIDATION_FOLDER

REPORT_NAME = "report.html"
_TEMPLATE, _STYLE = "report.html.jinja", "report.css"


def write_training_report(
    results_dir: Path,
    validation_set: DetectionSet | None = None,
    category_ids: Sequence[int] | None = None,
) -> Path:
    """Write warnings, losses and scores by epoch, and what the last validation found.

    Gives the file.

    Args:
        results_dir: holds status.json, and results.json and detections.json under validation/.
        validation_set: the ground truth of the validation, if there was one.
        category_ids: classes that were scored, absent: all.
    """
    status_file = results_dir / "status.json"
    sections = warning_sections(read_warnings(status_file))
    sections.append(training_section(read_history(status_file)))
    validation = results_dir / VALIDATION_FOLDER
    if validation_set is not None and (validation / "results.json").is_file():
        sections += score_sections(_read_json(validation / "results.json"))
        sections += _mistakes(validation, validation_set, category_ids)
    sections += command_sections(commands_of_run(results_dir, last_only=False))
    return _write(results_dir / REPORT_NAME, "Training", [str(results_dir)], sections)


def write_evaluation_report(
    results_dir: Path,
    test_set: DetectionSet | None = None,
    category_ids: Sequence[int] | None = None,
    judge: Judge = "auto",
) -> Path:
    """Write the scores of results.json and what detections.json gets wrong; gives the file.

    Args:
        results_dir: holds results.json, and detections.json if test_set is given.
        test_set: the ground truth; without it the report has the scores alone.
        category_ids: classes that were scored, absent: all.
        judge: who computed the scores, and computes the curves.
    """
    content = _read_json(results_dir / "results.json")
    sections = score_sections(content)
    if test_set is not None:
        sections += _mistakes(results_dir, test_set, category_ids, judge)
    else:
        sections += threshold_sections(_thresholds(content) or {})
    sections += command_sections(
        [
            *commands_of_model(content.get("checkpoint")),
            *commands_of_run(results_dir, last_only=True),
        ]
    )
    told = [f"{name}: {content[name]}" for name in ("checkpoint", "images") if name in content]
    return _write(results_dir / REPORT_NAME, "Evaluation", [str(results_dir), *told], sections)


def write_comparison_report(path: Path, comparison: Comparison) -> Path:
    """Write two runs side by side into the file; gives it."""
    runs = {"A": comparison.first, "B": comparison.second}
    facts = [f"{name}: {run.folder}" for name, run in runs.items()]
    codes = [
        Code(f"{name}: {code.title}", code.text)
        for name, run in runs.items()
        for code in (
            *commands_of_model(run.scores.get("checkpoint")),
            *commands_of_run(run.folder, last_only=not run.is_training),
        )
    ]
    sections = list(comparison_sections(comparison))
    sections += command_sections([*codes, *own_command("this comparison")])
    return _write(path, "Comparison", facts, sections)


def write_label_noise_report(folder: Path, noise: LabelNoise, model: str) -> Path:
    """Write how many labels a detector doubts, and images of the surest; gives the file."""
    facts = [str(folder), f"checkpoint: {model}"]
    sections = [*doubt_sections(noise), *command_sections(own_command("this check"))]
    return _write(folder / REPORT_NAME, "Doubted labels", facts, sections)


def _mistakes(
    folder: Path,
    detection_set: DetectionSet,
    category_ids: Sequence[int] | None,
    judge: Judge = "auto",
) -> list[Section]:
    detections = read_detections(folder / "detections.json")
    content = _read_json(folder / "results.json")
    limit = content.get("max_detections", DEFAULT_MAX_DETECTIONS)
    mistakes = find_mistakes(
        detection_set, detections, category_ids, judge, limit, _thresholds(content)
    )
    return [
        *threshold_sections(mistakes.thresholds),
        *mistake_sections(mistakes),
        worst_section(mistakes, detection_set),
    ]


def _thresholds(content: Mapping[str, Any]) -> dict[str, BestThreshold] | None:
    """Read those of results.json; a validation leaves none."""
    rows = content.get("thresholds")
    if rows is None:
        return None
    return {name: BestThreshold.from_dict(row) for name, row in rows.items()}


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def _write(path: Path, title: str, facts: Sequence[str], sections: Sequence[Section]) -> Path:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ddetr_cli", "report"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
    )
    page = environment.get_template(_TEMPLATE).render(
        title=title,
        facts=facts,
        sections=sections,
        style=files("ddetr_cli.report").joinpath(_STYLE).read_text("utf-8"),
    )
    write_whole(path, page.encode(errors="xmlcharrefreplace"))
    return path


def _shown(value: Any) -> Any:
    """What stands in the page for a text: nothing that turns or hides words, no passwords."""
    return value if hasattr(value, "__html__") else shown_text(without_passwords(str(value)))
