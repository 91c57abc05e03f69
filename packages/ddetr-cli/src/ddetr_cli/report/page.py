"""The report of a training or an evaluation, from the files that the run left."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from ddetr_cli.report.charts import bar_chart, line_chart
from ddetr_cli.report.history import read_history

REPORT_NAME = "report.html"
_LOSSES: tuple[str, ...] = ("train_loss", "val_loss")
_SCORES: tuple[str, ...] = ("val_AP", "val_AP50", "val_AP75")
_STYLE = (
    "body{font:15px sans-serif;max-width:60em;margin:2em auto;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;"
    "text-align:right}td:first-child,th:first-child{text-align:left}"
)


def write_training_report(results_dir: Path) -> Path:
    """Write losses and scores over the epochs of status.json; gives the file."""
    history = read_history(results_dir / "status.json")
    losses = {name: history[name] for name in _LOSSES if name in history}
    scores = {name: history[name] for name in _SCORES if name in history}
    sections = [line_chart("Loss", losses)] if losses else []
    if scores:
        sections.append(line_chart("Scores on the validation data", scores))
    epochs = sorted({epoch for values in history.values() for epoch in values})
    columns = [*losses, *scores]
    rows = [
        [str(epoch), *(_text(history[name].get(epoch)) for name in columns)] for epoch in epochs
    ]
    sections.append(_table(["epoch", *columns], rows))
    return _write(results_dir, "Training", sections)


def write_evaluation_report(results_dir: Path) -> Path:
    """Write the twelve figures and each class's AP of results.json; gives the file."""
    content = json.loads((results_dir / "results.json").read_text("utf-8"))
    overall, per_class = content["overall"], content["per_class"]
    ranked = sorted(per_class, key=lambda name: -(per_class[name]["AP"] or 0.0))
    values = [per_class[name]["AP"] or 0.0 for name in ranked]
    sections = [
        f"<p>{escape(str(content.get('checkpoint', '')))}</p>",
        _table(list(overall), [[_text(value) for value in overall.values()]]),
        bar_chart("AP of each class", ranked, values),
        _class_table(ranked, per_class),
    ]
    return _write(results_dir, "Evaluation", sections)


def _class_table(ranked: Sequence[str], per_class: Mapping[str, Mapping[str, float | None]]) -> str:
    rows = [[name, _text(per_class[name]["AP"]), _text(per_class[name]["AP50"])] for name in ranked]
    return _table(["class", "AP", "AP50"], rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _text(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _write(results_dir: Path, title: str, sections: Sequence[str]) -> Path:
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    heading = f"<h1>{title}</h1><p>{escape(str(results_dir))}</p>"
    body = f"<body>{heading}{''.join(sections)}</body>"
    path = results_dir / REPORT_NAME
    path.write_text(f"<!doctype html><html><head>{head}</head>{body}</html>", encoding="utf-8")
    return path
