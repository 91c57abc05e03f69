"""Write the tables of docs/recipes.md: what recipes reach, from benchmarks/results.

    python scripts/recipe_table.py [--check]

--check writes nothing and fails if the page is not what the results say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from generated import write_or_check

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "recipes.md"
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- recipes: begin -->", "<!-- recipes: end -->"
SETS = {
    "demo": "Whole trainings on the images of `ddetr demo`, scored on its 150 test images:",
    "demo_short": "A third of these images. Each line changes the first in one respect:",
    "fruits18": "Photographs of fruit, 16 of them learnt by heart and scored on themselves:",
    "bccd": "Whole trainings on blood cells, 205 photographs, scored on the test photographs:",
}


def page() -> str:
    """Give the page with its tables as the results are."""
    text = PAGE.read_text("utf-8")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    tables = [table(name) for name in SETS if (RESULTS / f"recipes_{name}.json").is_file()]
    return f"{head}{BEGIN}\n\n" + "\n".join(tables) + f"\n{END}{tail}"


def table(name: str) -> str:
    """Show one set's recipes, a line each, in the order in which they were measured."""
    result = json.loads((RESULTS / f"recipes_{name}.json").read_text("utf-8"))
    lines = [
        SETS[name],
        "",
        "| recipe | images seen | seeds | AP50 | AP | minutes of a processor |",
        "|---|---|---|---|---|---|",
    ]
    lines += [row(recipe, entry["runs"].values()) for recipe, entry in result.items()]
    runs = [run for entry in result.values() for run in entry["runs"].values()]
    machines = sorted({f"{run['machine']['cpu']}, {run['machine']['date']}" for run in runs})
    return "\n".join([*lines, "", f"On {'; '.join(machines)}; one thread.", ""])


def row(recipe: str, runs: Any) -> str:
    """Show the median of a recipe's runs, and the lowest and highest where there are several."""
    runs = list(runs)
    figures = " | ".join(spread([run[key] for run in runs], 3) for key in ("AP50", "AP"))
    minutes = spread([run["processor_minutes"] for run in runs], 0)
    return f"| {recipe} | {runs[0]['images']:,} | {len(runs)} | {figures} | {minutes} |"


def spread(values: list[float], digits: int) -> str:
    """Show one value, or the median and the range."""
    values = sorted(values)
    middle = f"{values[len(values) // 2]:.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({values[0]:.{digits}f} to {values[-1]:.{digits}f})"


if __name__ == "__main__":
    write_or_check(PAGE, page, __doc__)
