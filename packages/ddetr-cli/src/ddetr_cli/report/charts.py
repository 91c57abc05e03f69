"""Charts as SVG text, drawn by matplotlib without a display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH_INCHES, _HEIGHT_INCHES = 7.0, 3.2
_INCHES_A_BAR = 0.28


def line_chart(title: str, lines: Mapping[str, Mapping[int, float]]) -> str:
    """Draw figures over epochs, a line each."""
    figure = _figure(_HEIGHT_INCHES)
    axes = figure.subplots()
    for name, values in lines.items():
        axes.plot(list(values), list(values.values()), marker=".", label=name)
    axes.set_xlabel("epoch")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    return _svg(figure)


def bar_chart(title: str, names: Sequence[str], values: Sequence[float]) -> str:
    """Draw one horizontal bar a name, the first at the top, on a scale from 0 to 1."""
    figure = _figure(max(_HEIGHT_INCHES / 2, _INCHES_A_BAR * len(names) + 1))
    axes = figure.subplots()
    axes.barh(range(len(names)), values)
    axes.set_yticks(range(len(names)), labels=list(names))
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_title(title)
    axes.grid(axis="x", alpha=0.3)
    return _svg(figure)


def _figure(height_inches: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")


def _svg(figure: Figure) -> str:
    """Give the <svg> element alone; equal figures give equal text, whenever they are drawn."""
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "ddetr"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]
