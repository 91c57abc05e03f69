"""What a report shows: sections of figures, charts, tables and images, before they are HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ddetr_cli.report.charts import bar_chart, confusion_chart, line_chart, precision_recall_chart
from ddetr_cli.report.mistakes import Mistakes
from ddetr_cli.terminal import figure

_LOSSES: tuple[str, ...] = ("train_loss", "val_loss")
_SCORES: tuple[str, ...] = ("val_AP", "val_AP50", "val_AP75")
_MOST_EPOCHS_IN_SIGHT = 12  # longer tables are folded, so that what follows is seen
_HEADLINES: tuple[str, ...] = ("AP", "AP50", "AP75")  # and the recall that has the most detections


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded_as: str = ""  # what is in sight of a folded one


@dataclass(frozen=True)
class Code:
    """A line to be copied, and what it is."""

    title: str
    text: str


@dataclass(frozen=True)
class Thumbnail:
    """A small image inside the page."""

    shows: str  # what of the image's; nothing where there is one alone
    address: str  # data:


@dataclass(frozen=True)
class ShownImage:
    """An image with its mistakes."""

    name: str
    mistakes: str
    thumbnails: Sequence[Thumbnail] = ()  # side by side
    problem: str = ""  # why there is none


@dataclass(frozen=True)
class Section:
    """A part of the page; what it has is shown in this order."""

    title: str
    cards: Mapping[str, str] = field(default_factory=dict)  # figures by their names
    note: str = ""
    codes: Sequence[Code] = ()
    charts: Sequence[str] = ()  # as SVG
    table: Table | None = None
    images: Sequence[ShownImage] = ()
    legend: Sequence[tuple[str, str]] = ()  # colours of the images' boxes, and what they mean


def training_section(history: Mapping[str, Mapping[int, float]]) -> Section:
    """Losses and scores by name and epoch."""
    losses = {name: history[name] for name in _LOSSES if name in history}
    scores = {name: history[name] for name in _SCORES if name in history}
    charts = [line_chart("Loss", losses)] if losses else []
    if scores:
        charts.append(line_chart("Scores on the validation data", scores))
    return Section("Training", charts=charts, table=_epoch_table(history, [*losses, *scores]))


def warning_sections(warnings: Sequence[tuple[int | None, str]]) -> list[Section]:
    """What should be changed, by epoch; None is before the first one. No section without any."""
    if not warnings:
        return []
    rows = [["before" if epoch is None else str(epoch), text] for epoch, text in warnings]
    return [Section("Warnings", table=Table(["epoch", "what should be changed"], rows))]


def score_sections(content: Mapping[str, Any]) -> list[Section]:
    """The scores that results.json holds."""
    overall, per_class = content["overall"], content["per_class"]
    ranked = sorted(per_class, key=lambda name: -(per_class[name]["AP"] or 0.0))
    values = [per_class[name]["AP"] or 0.0 for name in ranked]
    rows = [
        [name, figure(per_class[name]["AP"]), figure(per_class[name]["AP50"])] for name in ranked
    ]
    return [
        Section(
            "Scores",
            cards={name: figure(overall[name]) for name in _headlines(overall)},
            table=Table(list(overall), [[figure(value) for value in overall.values()]]),
        ),
        Section(
            "Classes",
            charts=[bar_chart("AP of each class", ranked, values)],
            table=Table(["class", "AP", "AP50"], rows),
        ),
    ]


def mistake_sections(mistakes: Mistakes) -> list[Section]:
    """Curves, and which class was taken for which."""
    confusion = mistakes.confusion
    title = "True classes and detected ones, at IoU 0.50"
    return [
        _curves(mistakes),
        Section(
            "Confusion",
            note="Each class counts from its threshold on, one without any from 0.5. The last "
            "column was missed, the last row was invented.",
            charts=[confusion_chart(title, confusion.names, confusion.counts.tolist())],
        ),
    ]


def _headlines(overall: Mapping[str, Any]) -> list[str]:
    recalls = [name for name in overall if name.removeprefix("AR").isdigit()]
    return [name for name in (*_HEADLINES, *recalls[-1:]) if name in overall]


def _curves(mistakes: Mistakes) -> Section:
    drawn = {
        name: (curve.recall.tolist(), curve.precision.tolist())
        for name, curve in mistakes.curves.items()
        if len(curve.recall)
    }
    chart = precision_recall_chart("Precision over recall at IoU 0.50", drawn)
    return Section("Precision and recall", charts=[chart])


def _epoch_table(history: Mapping[str, Mapping[int, float]], columns: Sequence[str]) -> Table:
    epochs = sorted({epoch for values in history.values() for epoch in values})
    rows = [
        [str(epoch), *(figure(history[name].get(epoch)) for name in columns)] for epoch in epochs
    ]
    folded_as = f"{len(rows)} epochs in figures" if len(rows) > _MOST_EPOCHS_IN_SIGHT else ""
    return Table(["epoch", *columns], rows, folded_as)
