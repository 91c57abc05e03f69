"""What the report of a comparison shows, before it is HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ddetr_cli.report._sections import Section, Table
from ddetr_cli.report.charts import line_chart
from ddetr_cli.report.comparison import Comparison
from ddetr_cli.terminal import figure
from ddetr_data.scoring import Interval

_CURVES = {"val_AP": "AP on the validation data", "train_loss": "Loss of training"}
COLUMNS = ("A", "B", "B - A")
INTERVAL = "95 % interval"

Pairs = Mapping[str, tuple[float | None, float | None]]


def comparison_sections(comparison: Comparison) -> Iterator[Section]:
    """Scores, classes, curves of trainings, and keys that differ."""
    note = " ".join([f"{comparison.verdict()}.", *(f"{it}." for it in comparison.obstacles)])
    yield Section("Scores", note=note, table=_table("figure", score_rows(comparison.figures)))
    rows = class_rows(comparison)
    yield Section("AP of each class", table=Table(["class", *COLUMNS, INTERVAL], rows))
    yield from _curves(comparison)
    keys = [[name, *pair] for name, pair in comparison.keys.items()]
    yield Section(
        "Keys that differ",
        note="" if keys else "Both ran with the same spec.",
        table=Table(["key", "A", "B"], keys) if keys else None,
    )


def score_rows(pairs: Pairs) -> list[tuple[str, ...]]:
    """Name, both values and their difference."""
    return [(name, figure(one), figure(two), _less(one, two)) for name, (one, two) in pairs.items()]


def class_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """The same of each class, with its interval."""
    return [
        (*row, shown_interval(comparison.per_class.get(row[0])))
        for row in score_rows(comparison.classes)
    ]


def shown_interval(interval: Interval | None) -> str:
    """Write between which values a difference lies."""
    if interval is None or interval.low != interval.low:
        return "-"
    return f"{interval.low:+.3f} to {interval.high:+.3f}"


def _less(one: float | None, other: float | None) -> str:
    return "-" if one is None or other is None else f"{other - one:+.3f}"


def _table(name: str, rows: list[tuple[str, ...]]) -> Table:
    return Table([name, *COLUMNS], rows)


def _curves(comparison: Comparison) -> Iterator[Section]:
    histories = {"A": comparison.first.history, "B": comparison.second.history}
    charts = []
    for name, title in _CURVES.items():
        lines = {run: history[name] for run, history in histories.items() if name in history}
        if lines:
            charts.append(line_chart(title, lines))
    if charts:
        yield Section("Training", charts=charts)
