"""The best thresholds in a report, and the override that sets them."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from ddetr_cli.report import threshold_override, write_evaluation_report
from ddetr_cli.spec import Experiment, SpecError, load_spec
from ddetr_data import Category, Detections, class_thresholds
from ddetr_data.detection import threshold_for
from ddetr_data.scoring import BestThreshold

NAMES = (
    "red cell",
    "st. bernard",
    "it's",
    '"quoted" \\ and: {more}, [all] #1',
    "${a}",
    "default",
    "yes",
    "0123",
    "\u72ac \U0001f600",
    "\x1b[31m\u202e\x7f",
    "token",
    "=1+1",
)


def best(category_id: int, threshold: float, reason: str = "") -> BestThreshold:
    return BestThreshold(category_id, threshold, 0.5, 0.5, 0.5, 4, 9, reason)


@pytest.mark.parametrize("name", NAMES)
def test_the_override_is_read_back_by_the_spec(name: str, tmp_path: Path) -> None:
    """Pasted into a shell, whatever the class is called; other classes have the usual one."""
    override = threshold_override({name: best(3, 0.43), "none": best(4, 0.9, "no object")})
    assert override is not None
    (pasted,) = shlex.split(shlex.quote(override))
    (tmp_path / "spec.yaml").write_text("results_dir: x\n")
    loaded = load_spec(Experiment, tmp_path / "spec.yaml", [pasted])
    categories = (Category(3, name), Category(4, "none"))
    threshold = threshold_for(loaded.spec.inference, categories)
    labels = np.array([3, 4, 3, 4])
    scores = np.array([0.43, 0.5, 0.4299, 0.49], np.float32)
    found = Detections(np.zeros((4, 4), np.float32), scores, labels)
    assert found.above(threshold).labels.tolist() == [3, 4]


def test_two_classes_of_one_name_are_told_apart_by_their_ids() -> None:
    """As scores name them; where no class has a threshold there is no override."""
    override = threshold_override({"cat (id 1)": best(1, 0.2), "cat (id 5)": best(5, 0.25)})
    assert override == 'inference.conf_threshold={default: 0.5, "1": 0.20, "5": 0.25}'
    assert threshold_override({"cat": best(1, 0.2, "nothing of it was found")}) is None


def test_names_are_compared_as_everywhere() -> None:
    """Case and underscores make no other class; a table without names takes ids."""
    lights = (Category(2, "traffic_light"), Category(5, "car"))
    found = class_thresholds({"Traffic Light": 0.3, "5": 0.2}, lights, 0.5)
    assert found.by_label == {2: 0.3, 5: 0.2}  # type: ignore[union-attr]
    assert class_thresholds({"7": 0.3}, (), 0.5).by_label == {7: 0.3}  # type: ignore[union-attr]
    assert class_thresholds(0.25, lights, 0.5) == 0.25
    for wrong in ({"car": 2}, {"default": "high"}, float("nan")):
        with pytest.raises(ValueError, match="must be a number from 0 to 1"):
            class_thresholds(wrong, lights, 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("inference.conf_threshold={car: 2}", "inference.conf_threshold.car must be at most 1"),
        ("inference.conf_threshold.car=x", "inference.conf_threshold.car must be a number"),
        ("evaluate.conf_threshold=[0.5]", "must be a number or a block of keys"),
    ],
)
def test_a_wrong_block_is_named(override: str, sentence: str, load) -> None:
    """By the key of the class."""
    with pytest.raises(SpecError, match=re.escape(sentence)):
        load("", [override])


def test_the_report_has_table_and_override(tmp_path: Path) -> None:
    """From results.json alone; a class without a threshold says why."""
    thresholds = {"<b>": best(1, 0.43), "dog": best(2, float("nan"), "nothing of it was found")}
    content = {
        "overall": {"AP": 0.5},
        "per_class": {"dog": {"AP": 0.5, "AP50": 0.5}},
        "thresholds": {name: each.to_dict() for name, each in thresholds.items()},
    }
    (tmp_path / "results.json").write_text(json.dumps(content))
    text = write_evaluation_report(tmp_path).read_text("utf-8")
    (shown,) = re.findall(r"<pre>(.*?)</pre>", text)
    expected = 'inference.conf_threshold={default: 0.5, "<b>": 0.43}'
    assert shlex.split(html.unescape(shown)) == [expected]
    assert "<td>nothing of it was found</td>" in text
    assert "<b>" not in text
