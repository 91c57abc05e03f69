"""`ddetr compare`: two runs side by side, and whether their difference may be chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddetr_cli.commands.arguments import CompareArguments
from ddetr_cli.running import EXIT_SUCCESS
from ddetr_cli.spec import SpecError
from ddetr_cli.terminal import RunConsole
from ddetr_data.detection import Progress

if TYPE_CHECKING:
    from ddetr_cli.report import Comparison

_MOST_KEYS = 20  # on the screen; the page has all of them


def main(arguments: CompareArguments, console: RunConsole) -> int:
    """Show scores, intervals and keys that differ, and write the page.

    Raises:
        SpecError: a folder is none of a training or an evaluation, or the page has no folder.
    """
    output = arguments.output
    if not output.absolute().parent.is_dir() or output.is_dir():
        raise SpecError(f"--output {output} must be a file in a folder that exists")
    from ddetr_cli.report import compare_runs, read_scored_run, write_comparison_report

    first, second = (read_scored_run(each) for each in (arguments.first, arguments.second))
    comparison = compare_runs(
        first,
        second,
        resamples=arguments.resamples,
        seed=arguments.seed,
        on_progress=Progress([console.observe], "resamples"),
    )
    console.close()
    _show(comparison, console)
    console.say(f"report: {write_comparison_report(output, comparison)}")
    return EXIT_SUCCESS


def _show(comparison: Comparison, console: RunConsole) -> None:
    from ddetr_cli.report import class_rows, score_rows

    console.say(f"A: {comparison.first.folder}")
    console.say(f"B: {comparison.second.folder}")
    console.table("COCO scores", ["figure", "A", "B", "B - A"], score_rows(comparison.figures))
    columns = ["class", "A", "B", "B - A", "95 % interval"]
    console.table("AP of each class", columns, class_rows(comparison))
    keys = [(name, *pair) for name, pair in comparison.keys.items()]
    console.table("Keys that differ", ["key", "A", "B"], keys[:_MOST_KEYS])
    if len(keys) > _MOST_KEYS:
        console.say(f"and {len(keys) - _MOST_KEYS} keys more, see the report")
    for text in comparison.obstacles:
        console.notice(text)
    console.say(comparison.verdict())
