"""The report of a training or an evaluation, from the files that the run left."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape as escape_markup
from importlib.resources import files
from pathlib import Path
from typing import Any

from ddetr_cli.masking import without_passwords
from ddetr_cli.report.charts import bar_chart, confusion_chart, line_chart, precision_recall_chart
from ddetr_cli.report.history import read_history
from ddetr_cli.report.mistakes import BadImage, Mistakes, find_mistakes, read_detections
from ddetr_cli.report.thumbnails import FOUND_COLOR, OBJECT_COLOR, thumbnail
from ddetr_cli.terminal import figure
from ddetr_data import DEFAULT_MAX_DETECTIONS, DataError, Judge, shown_text
from ddetr_data.coco import DetectionSet
from ddetr_data.files import write_whole
from ddetr_train import VALIDATION_FOLDER

REPORT_NAME = "report.html"
_LOSSES: tuple[str, ...] = ("train_loss", "val_loss")
_SCORES: tuple[str, ...] = ("val_AP", "val_AP50", "val_AP75")
_MOST_EPOCHS_IN_SIGHT = 12  # longer tables are folded, so that what follows is seen
_HEADLINES: tuple[str, ...] = ("AP", "AP50", "AP75")  # and the recall that has the most detections


def write_training_report(
    results_dir: Path,
    validation_set: DetectionSet | None = None,
    category_ids: Sequence[int] | None = None,
) -> Path:
    """Write losses and scores over the epochs, and what the last validation found; gives the file.

    Args:
        results_dir: holds status.json, and results.json and detections.json under validation/.
        validation_set: the ground truth of the validation, if there was one.
        category_ids: classes that were scored, absent: all.
    """
    history = read_history(results_dir / "status.json")
    losses = {name: history[name] for name in _LOSSES if name in history}
    scores = {name: history[name] for name in _SCORES if name in history}
    charts = [line_chart("Loss", losses)] if losses else []
    if scores:
        charts.append(line_chart("Scores on the validation data", scores))
    sections = [_section("Training", *charts, _epoch_table(history, [*losses, *scores]))]
    validation = results_dir / VALIDATION_FOLDER
    if validation_set is not None and (validation / "results.json").is_file():
        content = _read_json(validation / "results.json")
        sections += _score_sections(content)
        sections += _mistake_sections(validation, validation_set, category_ids)
    return _write(results_dir, "Training", [], sections)


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
    sections = _score_sections(content)
    if test_set is not None:
        sections += _mistake_sections(results_dir, test_set, category_ids, judge)
    facts = [f"{name}: {content[name]}" for name in ("checkpoint", "images") if name in content]
    return _write(results_dir, "Evaluation", facts, sections)


def _score_sections(content: Mapping[str, Any]) -> list[str]:
    overall, per_class = content["overall"], content["per_class"]
    ranked = sorted(per_class, key=lambda name: -(per_class[name]["AP"] or 0.0))
    values = [per_class[name]["AP"] or 0.0 for name in ranked]
    rows = [
        [name, figure(per_class[name]["AP"]), figure(per_class[name]["AP50"])] for name in ranked
    ]
    cards = "".join(
        f'<div class="card"><strong>{figure(overall[name])}</strong>{name}</div>'
        for name in _headlines(overall)
    )
    table = _table(list(overall), [[figure(value) for value in overall.values()]])
    return [
        _section("Scores", f'<div class="cards">{cards}</div>', table),
        _section(
            "Classes",
            bar_chart("AP of each class", ranked, values),
            _table(["class", "AP", "AP50"], rows),
        ),
    ]


def _headlines(overall: Mapping[str, Any]) -> list[str]:
    recalls = [name for name in overall if name.removeprefix("AR").isdigit()]
    return [name for name in (*_HEADLINES, *recalls[-1:]) if name in overall]


def _mistake_sections(
    folder: Path,
    detection_set: DetectionSet,
    category_ids: Sequence[int] | None,
    judge: Judge = "auto",
) -> list[str]:
    detections = read_detections(folder / "detections.json")
    limit = _read_json(folder / "results.json").get("max_detections", DEFAULT_MAX_DETECTIONS)
    mistakes = find_mistakes(detection_set, detections, category_ids, judge, limit)
    return [
        _section("Precision and recall", *_curves(mistakes)),
        _section(
            "Confusion",
            "<p>Each class counts from the score at which its F1 is best. The last column was "
            "missed, the last row was invented.</p>",
            confusion_chart(
                "True classes and detected ones, at IoU 0.50",
                mistakes.confusion.names,
                mistakes.confusion.counts.tolist(),
            ),
        ),
        _section("Worst images", *_worst(mistakes.worst, detection_set)),
    ]


def _curves(mistakes: Mistakes) -> list[str]:
    drawn = {
        name: (curve.recall.tolist(), curve.precision.tolist())
        for name, curve in mistakes.curves.items()
        if len(curve.recall)
    }
    rows = [
        [name, figure(curve.best_f1), figure(curve.best_threshold)]
        for name, curve in mistakes.curves.items()
    ]
    return [
        precision_recall_chart("Precision over recall at IoU 0.50", drawn),
        _table(["class", "best F1", "at score"], rows),
    ]


def _worst(images: Sequence[BadImage], detection_set: DetectionSet) -> list[str]:
    if not images:
        return ["<p>No image has a mistake at these scores.</p>"]
    legend = (
        f'<p><span style="color:{OBJECT_COLOR}">&#9632; objects</span> '
        f'<span style="color:{FOUND_COLOR}">&#9632; detections</span>, most mistakes first</p>'
    )
    figures = "".join(_figure(image, detection_set) for image in images)
    return [legend, f'<div class="gallery">{figures}</div>']


def _figure(image: BadImage, detection_set: DetectionSet) -> str:
    name = _text(image.record.file_name)
    white = detection_set.largest.covering()
    try:
        shown = f'<img alt="{name}" src="{thumbnail(image, detection_set.categories, white)}">'
    except (OSError, DataError) as error:
        shown = f"<p>{_text(str(error))}</p>"
    counts = f"{image.missed} missed, {image.invented} invented, {image.confused} confused"
    return f"<figure>{shown}<figcaption>{name}<br>{counts}</figcaption></figure>"


def _epoch_table(history: Mapping[str, Mapping[int, float]], columns: Sequence[str]) -> str:
    epochs = sorted({epoch for values in history.values() for epoch in values})
    rows = [
        [str(epoch), *(figure(history[name].get(epoch)) for name in columns)] for epoch in epochs
    ]
    table = _table(["epoch", *columns], rows)
    if len(rows) <= _MOST_EPOCHS_IN_SIGHT:
        return table
    return f"<details><summary>{len(rows)} epochs in figures</summary>{table}</details>"


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{''.join(parts)}</section>"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _text(text: str) -> str:
    """Write text as HTML shows it: no markup, nothing that turns or hides words, no passwords."""
    return escape_markup(shown_text(without_passwords(text)))


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def _write(results_dir: Path, title: str, facts: Sequence[str], sections: Sequence[str]) -> Path:
    style = files("ddetr_cli.report").joinpath("report.css").read_text("utf-8")
    viewport = '<meta name="viewport" content="width=device-width">'
    head = f'<meta charset="utf-8">{viewport}<title>{title}</title><style>{style}</style>'
    lines = "<br>".join(_text(line) for line in (str(results_dir), *facts))
    body = f"<header><h1>{title}</h1><p>{lines}</p></header>{''.join(sections)}"
    page = f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'
    path = results_dir / REPORT_NAME
    write_whole(path, page.encode(errors="xmlcharrefreplace"))
    return path
