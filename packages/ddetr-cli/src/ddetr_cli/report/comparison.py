"""Two runs side by side: scores, what of their difference may be chance, and keys that differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ddetr_cli.report.scored_run import ScoredRun
from ddetr_cli.running import sentence
from ddetr_data import DEFAULT_MAX_DETECTIONS
from ddetr_data.coco import DetectionSet
from ddetr_data.scoring import RESAMPLES, ImageMatches, Interval, paired_intervals

_SAME_AP = 1e-6  # of results.json, and of detections.json with the labels as they are now
ABSENT = "not set"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Comparison:
    """What two runs, A and B, have of the same kind; differences are B's figure less A's."""

    first: ScoredRun
    second: ScoredRun
    figures: Mapping[str, tuple[float | None, float | None]]  # the twelve
    classes: Mapping[str, tuple[float | None, float | None]]  # AP of what both have
    keys: Mapping[str, tuple[str, str]]  # of the spec, where they differ
    obstacles: tuple[str, ...]  # why there is no interval
    overall: Interval | None = None
    per_class: Mapping[str, Interval] = field(default_factory=dict)
    num_images: int = 0
    resamples: int = 0

    def verdict(self) -> str:
        """Say in a sentence how the APs differ, and whether that may be chance."""
        one, other = self.figures.get("AP", (None, None))
        if one is None or other is None:
            return "there is no AP to compare"
        stated = f"AP {one:.3f} and {other:.3f}, difference {other - one:+.3f}"
        if self.overall is None:
            return stated
        low, high = self.overall.low, self.overall.high
        judged = "zero lies outside" if self.overall.is_clear else "zero lies inside"
        return (
            f"{stated}, 95 % interval {low:+.3f} to {high:+.3f}: {judged} "
            f"({self.resamples} resamples of {self.num_images} images)"
        )


def compare_runs(
    first: ScoredRun,
    second: ScoredRun,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Comparison:
    """Compare two runs; what cannot be compared becomes an obstacle, told in a sentence.

    Raises:
        ValueError: resamples is below 1.
    """
    overall = [run.scores["overall"] for run in (first, second)]
    per_class = [run.scores["per_class"] for run in (first, second)]
    common = [name for name in per_class[0] if name in per_class[1]]
    keys = [run.keys() for run in (first, second)]
    comparison = Comparison(
        first,
        second,
        {name: (value, overall[1].get(name)) for name, value in overall[0].items()},
        {name: (per_class[0][name]["AP"], per_class[1][name]["AP"]) for name in common},
        _differing(*keys),
        tuple(_obstacles(first, second)),
    )
    if comparison.obstacles:
        return comparison
    return _with_intervals(comparison, resamples, seed, on_progress)


def _with_intervals(
    comparison: Comparison, resamples: int, seed: int, on_progress: Progress | None
) -> Comparison:
    runs = (comparison.first, comparison.second)
    try:
        labelled = [run.labels() for run in runs]
        matches = [_matches(run, labels) for run, labels in zip(runs, labelled, strict=True)]
    except (OSError, ValueError) as error:
        text = f"there is no interval, for the labels cannot be read: {sentence(error)}"
        return replace(comparison, obstacles=(text,))
    obstacles = (
        _other_labels(*labelled),
        *(_other_scores(run, found) for run, found in zip(runs, matches, strict=True)),
    )
    if told := tuple(text for text in obstacles if text):
        return replace(comparison, obstacles=told[:1])
    overall, per_class = paired_intervals(
        *matches, resamples=resamples, seed=seed, on_progress=on_progress
    )
    return replace(
        comparison,
        overall=overall,
        per_class=per_class,
        num_images=matches[0].num_images,
        resamples=resamples,
    )


def _obstacles(first: ScoredRun, second: ScoredRun) -> list[str]:
    """What the records alone say."""
    found = []
    names = [set(run.scores["per_class"]) for run in (first, second)]
    if names[0] != names[1]:
        only = [", ".join(sorted(one - other)) or "none" for one, other in (names, names[::-1])]
        found.append(
            "there is no interval, for the runs were scored on other classes: only A has "
            f"{only[0]}, only B has {only[1]}"
        )
    limits = [_limit(run) for run in (first, second)]
    if limits[0] != limits[1]:
        found.append(
            f"there is no interval, for A was scored with {limits[0]} detections of an image and "
            f"class, B with {limits[1]}"
        )
    return found


def _other_labels(first: DetectionSet, second: DetectionSet) -> str:
    one, other = (labels.to_coco() for labels in (first, second))
    if one["images"] != other["images"]:
        names = [{row["file_name"] for row in content["images"]} for content in (one, other)]
        counts = [len(content["images"]) for content in (one, other)]
        both = len(names[0] & names[1])
        return (
            f"there is no interval, for the runs were scored on other images: {counts[0]} and "
            f"{counts[1]}, of which {both} have the same name"
        )
    if one["annotations"] != other["annotations"]:
        return (
            "there is no interval, for images of the same names have other labels in the two runs"
        )
    return ""


def _other_scores(run: ScoredRun, matches: ImageMatches) -> str:
    """Say that the labels are others by now than those that the run was scored on."""
    found = matches.average_precisions()
    mean = math.nan if all(map(math.isnan, found)) else float(found[~(found != found)].mean())
    stated = run.scores["overall"].get("AP")
    stated = math.nan if stated is None else stated
    if abs(mean - stated) <= _SAME_AP or (math.isnan(mean) and math.isnan(stated)):
        return ""
    return (
        f"there is no interval, for the labels of {run.folder} have changed since it was scored: "
        f"its AP was {stated:.4f} and is {mean:.4f} on them"
    )


def _matches(run: ScoredRun, labels: DetectionSet) -> ImageMatches:
    scored = run.tree.get(("dataset", "eval_class_ids"))
    return ImageMatches(labels, run.detections, category_ids=scored, max_detections=_limit(run))


def _limit(run: ScoredRun) -> int:
    return int(run.scores.get("max_detections", DEFAULT_MAX_DETECTIONS))


def _differing(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    names = dict.fromkeys([*first, *second])
    pairs = {name: (first.get(name, ABSENT), second.get(name, ABSENT)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
