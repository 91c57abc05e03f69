"""The faster judge against pycocotools: every figure, curve and score equal to the last bit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddetr_data.coco import load_sources
from ddetr_data.config import DataSource, Judge
from ddetr_data.scoring import CocoScorer, Verdict, choose_judge, judge

pytest.importorskip("faster_coco_eval", reason="the extra [fast-scoring] is not installed")

CATEGORY_IDS = (0, 3, 7)
SIDES = st.sampled_from([4, 31, 32, 33, 60, 96, 97, 200])  # around the limits of COCO's areas
BOXES = st.tuples(st.integers(0, 12), st.integers(0, 12), SIDES, SIDES)
SCORES = st.sampled_from([0.1, 0.5, 0.5000001, 0.9, 1.0])  # many ties
IMAGE_IDS = st.integers(1, 4)
OBJECTS = st.lists(
    st.tuples(IMAGE_IDS, st.sampled_from(CATEGORY_IDS), BOXES, st.booleans(), st.booleans()),
    max_size=14,
)
FOUND = st.lists(st.tuples(IMAGE_IDS, st.sampled_from(CATEGORY_IDS), BOXES, SCORES), max_size=20)


def assert_same(reference: Verdict, fast: Verdict) -> None:
    """Compare bits, with NaN equal to NaN."""
    np.testing.assert_array_equal(fast.figures, reference.figures)
    np.testing.assert_array_equal(fast.precision, reference.precision)
    np.testing.assert_array_equal(fast.scores, reference.scores)


def both(truth: dict[str, Any], results: list[Any], **options: Any) -> tuple[Verdict, Verdict]:
    """Ask both judges."""
    reference, fast = (
        judge(truth, results, CATEGORY_IDS, by=name, **options)
        for name in ("pycocotools", "faster")
    )
    return reference, fast


def truth_of(objects: list[Any]) -> dict[str, Any]:
    """A ground truth of four images; a crowd or a small segment is as COCO has them."""
    annotations = [
        {"id": number, "image_id": image, "category_id": label, "bbox": list(map(float, box))}
        | {"area": box[2] * box[3] * (0.5 if thin else 1.0), "iscrowd": int(crowd)}
        for number, (image, label, box, crowd, thin) in enumerate(objects, 1)
    ]
    images = [{"id": number, "width": 300, "height": 300} for number in (1, 2, 3, 4)]
    categories = [{"id": number, "name": str(number)} for number in CATEGORY_IDS]
    return {"images": images, "annotations": annotations, "categories": categories}


@settings(max_examples=150, deadline=None)
@given(objects=OBJECTS, found=FOUND, one_image=st.booleans())
def test_random_sets_are_judged_alike(
    objects: list[Any], found: list[Any], one_image: bool
) -> None:
    """Crowds, ties, empty images, absent classes, and a choice of the images."""
    results = [
        {"image_id": image, "category_id": label, "bbox": list(map(float, box)), "score": score}
        for image, label, box, score in found
    ]
    images = [1] if one_image else None
    assert_same(*both(truth_of(objects), results, image_ids=images))


@pytest.mark.parametrize("num_objects", [1, 2, 3, 4, 5, 99, 100, 101, 128, 129, 300])
@pytest.mark.parametrize("hits", [1, 2, 3])
def test_a_run_of_hits_is_counted_right(num_objects: int, hits: int) -> None:
    """One hit before a failure is the case in which the two divide differently."""
    objects = [
        (1, 3, (40 * (n % 20), 40 * (n // 20), 30, 30), False, False) for n in range(num_objects)
    ]
    hits = min(hits, num_objects)
    boxes = [objects[n][2] for n in range(hits)] + [(900, 900, 30, 30)]
    results = [
        {"image_id": 1, "category_id": 3, "bbox": list(map(float, box)), "score": 0.9 - n / 100}
        for n, box in enumerate(boxes)
    ]
    reference, fast = both(truth_of(objects), results)
    assert (reference.precision.max() < 1) == (hits == 1)  # the difference is really met
    assert_same(reference, fast)


def test_the_published_fixture_is_scored_alike(shared_data: Path) -> None:
    """Twelve figures, every class and every curve of COCO's own example."""
    folder = shared_data / "cocoeval_fixture"
    labels = folder / "instances_val2014_100.json"
    loaded = load_sources(
        [DataSource(image_dir=str(folder), json_file=str(labels))], num_classes=None
    )
    rows = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    reference, fast = (CocoScorer(loaded, judge=name) for name in ("pycocotools", "faster"))
    for scorer in (reference, fast):
        scorer.add_results(rows)
    assert fast.score().to_dict() == reference.score().to_dict()
    curves = (
        {name: curve.to_dict() for name, curve in it.curves().items()} for it in (reference, fast)
    )
    assert next(curves) == next(curves)


@pytest.mark.parametrize("is_installed", [True, False])
def test_auto_is_the_fast_judge_where_it_is_installed(
    is_installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by name and missing it is an error that says what to install."""
    if not is_installed:
        monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    assert choose_judge("auto") == ("faster" if is_installed else "pycocotools")
    assert choose_judge("pycocotools") == "pycocotools"
    if is_installed:
        assert choose_judge("faster") == "faster"
    else:
        with pytest.raises(ValueError, match=r"pip install 'ddetr-data\[fast-scoring\]'"):
            choose_judge("faster")


@pytest.mark.parametrize("name", ["pycocotools", "faster"])
def test_a_judge_says_nothing_and_leaves_the_output_of_others_alone(
    name: Judge, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever another thread prints meanwhile is shown."""
    seen: list[object] = []
    accumulate = np.concatenate

    def watched(*arguments: Any, **options: Any) -> Any:
        seen.append(sys.stdout)
        return accumulate(*arguments, **options)

    monkeypatch.setattr(np, "concatenate", watched)
    before = sys.stdout
    rows = [{"image_id": 1, "category_id": 3, "bbox": [0.0, 0.0, 9.0, 9.0], "score": 0.5}]
    judge(truth_of([(1, 3, (0, 0, 9, 9), False, False)]), rows, CATEGORY_IDS, by=name)
    assert seen
    assert all(stream is before for stream in seen)
    assert capsys.readouterr().out == ""
