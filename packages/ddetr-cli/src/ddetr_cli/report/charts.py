"""Charts as SVG text, drawn by matplotlib without a display."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ddetr_data import shown_text

_WIDTH_INCHES, _HEIGHT_INCHES = 5.6, 2.9  # a phone shows them smaller, and words must be read
_INCHES_A_BAR = 0.28
_LARGEST_SQUARE_INCHES, _INCHES_A_CLASS = 9.0, 0.55
_LONGEST_NAME = 24  # characters
_MOST_NAMED = 10  # curves with a colour and a line in the legend
_MOST_NUMBERED = 15  # classes of a confusion matrix that has its counts written in


def line_chart(title: str, lines: Mapping[str, Mapping[int, float]]) -> str:
    """Draw figures over epochs, a line each."""
    axes = _axes(title, _HEIGHT_INCHES)
    for name, values in lines.items():
        axes.plot(list(values), list(values.values()), marker=".", label=name)
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)
    axes.legend()
    return _svg(axes.figure)


def bar_chart(title: str, names: Sequence[str], values: Sequence[float]) -> str:
    """Draw one horizontal bar a name, the first at the top, on a scale from 0 to 1."""
    axes = _axes(title, max(_HEIGHT_INCHES / 2, _INCHES_A_BAR * len(names) + 1))
    axes.barh(range(len(names)), values)
    axes.set_yticks(range(len(names)), labels=[_plain(name) for name in names])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.grid(axis="x", alpha=0.3)
    return _svg(axes.figure)


def precision_recall_chart(
    title: str, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]
) -> str:
    """Draw (recalls, precisions) of each class; of many classes only the first have a colour."""
    axes = _axes(title, _HEIGHT_INCHES * 1.4)
    for index, (name, (recalls, precisions)) in enumerate(curves.items()):
        style = {"label": _plain(name)} if index < _MOST_NAMED else {"color": "#cccccc", "lw": 0.7}
        axes.plot(recalls, precisions, zorder=-index, **style)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.grid(alpha=0.3)
    if curves:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return _svg(axes.figure)


def confusion_chart(title: str, names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Draw how often each true class (row) was taken for which (column), shaded by row."""
    side = min(_LARGEST_SQUARE_INCHES, 2.5 + _INCHES_A_CLASS * len(names))
    axes = _axes(title, side * 0.85, width_inches=side)
    fractions = [[count / max(1, sum(row)) for count in row] for row in counts]
    image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    size = 9 if len(names) <= _MOST_NUMBERED else 5
    ticks = [_plain(name) for name in names]
    axes.set_xticks(range(len(names)), labels=ticks, rotation=45, ha="right", fontsize=size)
    axes.set_yticks(range(len(names)), labels=ticks, fontsize=size)
    axes.set_xlabel("detected")
    axes.set_ylabel("true")
    if len(names) <= _MOST_NUMBERED:
        for row, column in ((r, c) for r in range(len(names)) for c in range(len(names))):
            color = "white" if fractions[row][column] > 0.5 else "black"
            text = str(counts[row][column])
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=9)
    axes.figure.colorbar(image, label="fraction of the row")
    return _svg(axes.figure)


def _plain(name: str) -> str:
    """Keep matplotlib from reading a class name as a formula, its signs from acting, and it short.

    A name wider than the chart leaves no room for what is drawn; tables have it whole.
    """
    shown = shown_text(name)
    if len(shown) > _LONGEST_NAME:
        shown = f"{shown[: _LONGEST_NAME - 1]}…"
    return shown.replace("$", r"\$")


def _axes(title: str, height_inches: float, width_inches: float = _WIDTH_INCHES) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    return axes


def _svg(figure: Any) -> str:
    """Give the <svg> element alone; equal figures give equal text, whenever they are drawn."""
    import matplotlib

    file = io.StringIO()
    # Text stays text: it can be searched, and any script is drawn by the reader's own fonts.
    with (
        matplotlib.rc_context({"svg.hashsalt": "ddetr", "svg.fonttype": "none"}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # of scripts only the reader has
        figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    text = file.getvalue()
    return text[text.index("<svg") :]
