"""What a training or an evaluation has left of its scores, and the labels that they are of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddetr_cli.report.history import History, read_history
from ddetr_cli.running import SPEC_FILE
from ddetr_cli.spec import Experiment, SpecError, SpecTree, load_tree, read_spec_file
from ddetr_data.coco import DetectionSet
from ddetr_data.loading import LabelContract, open_sources
from ddetr_train import VALIDATION_FOLDER

_SCORES, _DETECTIONS, _STATUS = "results.json", "detections.json", "status.json"
_TASKS = ("train", "evaluate", "trt_evaluate")


@dataclass(frozen=True)
class ScoredRun:
    """The record of a run that has scored its model."""

    folder: Path
    is_training: bool  # its scores are those of its last validation
    scores: Mapping[str, Any]  # results.json
    detections: list[Mapping[str, Any]]  # detections.json, rows in COCO's results format
    tree: SpecTree  # experiment.yaml
    history: History  # figures of a training's epochs

    def labels(self) -> DetectionSet:
        """Read the labels that it was scored on, as they are now.

        Raises:
            OSError, ValueError: they are not there, or cannot be read.
        """
        experiment = load_tree(Experiment, self.tree).spec
        dataset = experiment.dataset
        sources = dataset.val_data_sources if self.is_training else dataset.test_data_sources
        return open_sources(
            sources,
            num_classes=None,
            dataset_type=dataset.dataset_type,
            ignore_regions=dataset.ignore_regions,
            contract=LabelContract.of_scoring(dataset, ()),
        )

    def keys(self) -> dict[str, str]:
        """Every key that it ran with and its value, by the key's dotted name."""
        found: dict[str, str] = {}
        _flatten(self.tree.values, "", found)
        return found


def read_scored_run(folder: Path) -> ScoredRun:
    """Read the folder of a training or of an evaluation.

    Raises:
        SpecError: it is none, or a file of it is damaged.
    """
    if not folder.is_dir():
        there = "is no folder" if folder.exists() else "does not exist"
        raise SpecError(f"{folder} {there}; give the results folder of a training or an evaluation")
    scored = next(
        (each for each in (folder, folder / VALIDATION_FOLDER) if (each / _SCORES).is_file()), None
    )
    if scored is None:
        raise SpecError(f"{folder} holds no scores{_advice(folder)}")
    for path in (folder / SPEC_FILE, scored / _DETECTIONS):
        if not path.is_file():
            raise SpecError(f"{folder} is not whole: {path} is missing; run that again")
    tree = read_spec_file(folder / SPEC_FILE)
    tree.remove(("encryption_key",))  # a mask; nothing that is read here is encrypted
    status = folder / _STATUS
    return ScoredRun(
        folder,
        scored != folder,
        _read_scores(scored / _SCORES),
        _read_json(scored / _DETECTIONS, list),
        tree,
        read_history(status) if scored != folder and status.is_file() else {},
    )


def _advice(folder: Path) -> str:
    below = [folder / task for task in _TASKS if (folder / task).is_dir()]
    if below:
        return f"; give {' or '.join(map(str, below))}"
    return (
        f": there is no {_SCORES} of `ddetr evaluate`, and no {VALIDATION_FOLDER}/{_SCORES} of a "
        "training with validation data"
    )


def _read_scores(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = _read_json(path, dict)
    if not all(isinstance(content.get(key), dict) for key in ("overall", "per_class")):
        raise SpecError(f"{path} is not what `ddetr evaluate` writes: it lacks the scores")
    return content


def _read_json(path: Path, kind: type) -> Any:
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise SpecError(f"{path} is damaged ({error}); run that again") from None
    if not isinstance(content, kind):
        raise SpecError(f"{path} is not what `ddetr evaluate` writes")
    return content


def _flatten(node: Any, name: str, found: dict[str, str]) -> None:
    is_list = isinstance(node, list) and any(isinstance(each, dict) for each in node)
    if is_list or (isinstance(node, dict) and node):
        for key, child in enumerate(node) if is_list else node.items():
            _flatten(child, f"{name}.{key}" if name else str(key), found)
    else:
        found[name] = json.dumps(node, ensure_ascii=False) if node is not None else "null"
