"""Draw docs/images/architecture.svg: the packages, their wings, and who imports whom.

    python scripts/architecture_picture.py [--check]

--check writes nothing and fails if the drawing is not what the imports say.
"""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Iterator, Mapping
from html import escape
from typing import NamedTuple

from generated import write_or_check
from import_graph import ROOT, SOURCES, is_wing, modules, package_graph, tree_of, unit_graph

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TARGET = ROOT / "docs" / "images" / "architecture.svg"

# In pixels. A letter of a wing's name is as wide as the fonts of most browsers make it.
BOX_WIDTH, GAP_WIDTH, GAP_HEIGHT, MARGIN = 400, 60, 56, 16
LINE_HEIGHT, WING_HEIGHT, WING_GAP, LETTER_WIDTH = 18, 24, 8, 7.4
TEXT_LETTERS = 52

Graph = Mapping[str, set[str]]


class Box(NamedTuple):
    """A package as it is drawn."""

    package: str
    purpose: list[str]  # lines of text
    rows: list[list[str]]  # wings; each row imports only from rows below it
    left: float
    top: float

    @property
    def height(self) -> float:
        """From the name to the last row of wings."""
        lines = LINE_HEIGHT * (1 + len(self.purpose)) + 2 * WING_GAP
        return lines + len(self.rows) * (WING_HEIGHT + WING_GAP) + WING_GAP


def picture() -> str:
    """Give the whole drawing as the text of an SVG file."""
    boxes = {box.package: box for box in placed_boxes()}
    parts = [part for box in boxes.values() for part in drawn_box(box)]
    for importer, imported in arrows(package_graph()):
        parts.append(drawn_arrow(boxes[importer], boxes[imported]))
    width = max(box.left for box in boxes.values()) + BOX_WIDTH + MARGIN
    height = max(box.top + box.height for box in boxes.values()) + MARGIN
    return "\n".join([*head(width, height), *parts, "</svg>", ""])


def placed_boxes() -> Iterator[Box]:
    """Yield the packages from the one that imports all others down, each row centred."""
    levels = rows_of(package_graph())
    widest = max(map(len, levels))
    whole_width = widest * BOX_WIDTH + (widest - 1) * GAP_WIDTH
    top: float = MARGIN
    for level in levels:
        width = len(level) * BOX_WIDTH + (len(level) - 1) * GAP_WIDTH
        left = MARGIN + (whole_width - width) / 2
        tallest: float = 0
        for number, package in enumerate(level):
            lines = textwrap.wrap(purpose_of(package), TEXT_LETTERS)
            x = left + number * (BOX_WIDTH + GAP_WIDTH)
            box = Box(package, lines, list(wing_rows(package)), x, top)
            tallest = max(tallest, box.height)
            yield box
        top += tallest + GAP_HEIGHT


def purpose_of(package: str) -> str:
    """Read the first line of a package's docstring."""
    text = ast.get_docstring(tree_of(modules()[package])) or ""
    return text.partition("\n")[0].replace("`", "")


def wing_rows(package: str) -> Iterator[list[str]]:
    """Yield a package's wings, none of which imports one of its own row or of a row above."""
    reached = closure(unit_graph(package))
    wings = [unit for unit in modules() if unit.startswith(f"{package}.") and is_wing(unit)]
    graph = {wing: {other for other in wings if other in reached[wing]} for wing in wings}
    for row in rows_of(graph):
        yield from fitting([wing.split(".")[1] for wing in row])


def fitting(names: list[str]) -> Iterator[list[str]]:
    """Break a row that is wider than a box."""
    line: list[str] = []
    for name in names:
        if line and sum(map(wing_width, [*line, name])) > BOX_WIDTH - 2 * MARGIN:
            yield line
            line = []
        line.append(name)
    if line:
        yield line


def closure(graph: Graph) -> dict[str, set[str]]:
    """Give for each node all that it reaches, over others too."""

    def walk(node: str) -> set[str]:
        found: set[str] = set()
        waiting = list(graph.get(node, ()))
        while waiting:
            other = waiting.pop()
            if other not in found:
                found.add(other)
                waiting.extend(graph.get(other, ()))
        return found

    nodes = set(graph).union(*graph.values())
    return {node: walk(node) for node in nodes}


def rows_of(graph: Graph) -> list[list[str]]:
    """Sort the nodes by the longest way down to them from a node that nobody imports."""
    rows: dict[str, int] = {}

    def row(node: str) -> int:
        if node not in rows:
            above = [importer for importer, imported in graph.items() if node in imported]
            rows[node] = 1 + max(map(row, above), default=-1)
        return rows[node]

    for node in graph:
        row(node)
    return [
        sorted(node for node in rows if rows[node] == number)
        for number in range(max(rows.values(), default=-1) + 1)
    ]


def arrows(graph: Graph) -> Iterator[tuple[str, str]]:
    """Yield (importer, imported), without those that follow from two others."""
    reached = closure(graph)
    for importer in sorted(graph):
        for imported in sorted(graph[importer]):
            if not any(imported in reached[other] for other in graph[importer]):
                yield importer, imported


def is_optional(importer: str, imported: str) -> bool:
    """Say whether only an extra of a package brings the other one."""
    manifest = tomllib.loads((SOURCES[importer].parents[1] / "pyproject.toml").read_text("utf-8"))
    name = imported.replace("_", "-")
    return not any(line.startswith(name) for line in manifest["project"]["dependencies"])


def head(width: float, height: float) -> list[str]:
    """Open the file: its size, the arrow's tip, a white ground, and a title for readers."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" font-family="sans-serif" font-size="13">',
        "<title>The six packages, their wings, and who imports whom</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#444"/></marker></defs>',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]


def drawn_box(box: Box) -> Iterator[str]:
    """Yield the frame, the texts and the wings of a package."""
    yield (
        f'<rect x="{box.left:g}" y="{box.top:g}" width="{BOX_WIDTH}" height="{box.height:g}" '
        'rx="6" fill="#f4f6f8" stroke="#444"/>'
    )
    left, y = box.left + MARGIN, box.top + WING_GAP + LINE_HEIGHT - 4
    yield f'<text x="{left:g}" y="{y:g}" font-weight="bold">{box.package}</text>'
    for line in box.purpose:
        y += LINE_HEIGHT
        yield f'<text x="{left:g}" y="{y:g}" fill="#444">{escape(line)}</text>'
    y += WING_GAP + 4
    for row in box.rows:
        x = left
        for name in row:
            yield from drawn_wing(name, x, y)
            x += wing_width(name)
        y += WING_HEIGHT + WING_GAP


def wing_width(name: str) -> float:
    """Pixels that a wing takes in its row, with the gap behind it."""
    return len(name) * LETTER_WIDTH + 2 * WING_GAP + WING_GAP


def drawn_wing(name: str, left: float, top: float) -> Iterator[str]:
    """Yield a wing's frame and name."""
    width = wing_width(name) - WING_GAP
    yield (
        f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{WING_HEIGHT}" rx="4" '
        'fill="#dbe7f3" stroke="#6b8fb3"/>'
    )
    yield (
        f'<text x="{left + width / 2:g}" y="{top + 16:g}" text-anchor="middle" '
        f'font-family="monospace" font-size="12">{name}</text>'
    )


def drawn_arrow(importer: Box, imported: Box) -> str:
    """Draw a line down from the importer; it is broken where only an extra brings the other."""
    aside = (imported.left - importer.left) / BOX_WIDTH
    start_x = importer.left + BOX_WIDTH / 2 + 60 * aside
    end_x = imported.left + BOX_WIDTH / 2 - 60 * aside
    broken = ' stroke-dasharray="5 4"' if is_optional(importer.package, imported.package) else ""
    return (
        f'<line x1="{start_x:g}" y1="{importer.top + importer.height:g}" x2="{end_x:g}" '
        f'y2="{imported.top:g}" stroke="#444" stroke-width="1.5"{broken} marker-end="url(#tip)"/>'
    )


if __name__ == "__main__":
    write_or_check(TARGET, picture, __doc__)
