"""The AP of a resample is COCO's of a set in which images stand twice, thrice or not at all."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ddetr_data.coco import DetectionSet, ResultRow
from ddetr_data.faults import FaultLog
from ddetr_data.scoring import CocoScorer, ImageMatches, paired_intervals
from ddetr_data.types import Annotations, Category, ImageRecord

CLASSES = (Category(2, "cell"), Category(5, "cell"), Category(7, "never there"))
IMAGES = 8


def drawn_set(random: np.random.Generator) -> DetectionSet:
    """Images of up to six objects of two classes; some are crowds, one image is empty."""
    records = []
    for number in range(IMAGES):
        count = 0 if number == 3 else int(random.integers(1, 7))
        boxes = random.uniform((0, 0, 8, 8), (150, 150, 50, 50), (count, 4))
        annotations = Annotations(
            boxes,
            random.choice([2, 5], count),
            random.random(count) < 0.15,
            boxes[:, 2] * boxes[:, 3],
        )
        records.append(ImageRecord(10 + 3 * number, "", f"{number}.png", 200, 200, annotations))
    return DetectionSet(records, CLASSES, FaultLog())


def detector(truth: DetectionSet, random: np.random.Generator, noise: float) -> list[ResultRow]:
    """Objects with noise, some missed, some invented; every score is another one."""
    rows = []
    for record in truth.images:
        for box, label in zip(record.boxes_xywh, record.labels, strict=True):
            for _ in range(int(random.integers(0, 3))):
                moved = (box + random.normal(0, noise, 4)).tolist()
                name = int(label if random.random() < 0.8 else 7 - label)
                rows.append(ResultRow(image_id=record.id, category_id=name, bbox=moved, score=0.0))
    scores = random.permutation(len(rows)) / len(rows)
    return [ResultRow(**{**row, "score": float(s)}) for row, s in zip(rows, scores, strict=True)]


def resampled(truth: DetectionSet, rows: list[ResultRow], counts: np.ndarray) -> CocoScorer:
    """COCO's own scorer on copies of the images, side by side, under ids of their own."""
    images, copied = [], []
    for record, count in zip(truth.images, counts.tolist(), strict=True):
        for _ in range(count):
            copy = replace(record, id=len(images) + 1)
            images.append(copy)
            copied += [{**row, "image_id": copy.id} for row in rows if row["image_id"] == record.id]
    scorer = CocoScorer(replace(truth, images=images), judge="pycocotools")
    scorer.add_results(copied)
    return scorer


@pytest.mark.parametrize("seed", range(4))
def test_a_resample_has_cocos_own_ap(seed: int) -> None:
    """Of all classes and of each, for drawn counts, for one image alone, and for none left out."""
    random = np.random.default_rng(seed)
    truth = drawn_set(random)
    rows = detector(truth, random, noise=3.0)
    matches = ImageMatches(truth, rows)
    drawn = [np.bincount(random.integers(0, IMAGES, IMAGES), minlength=IMAGES) for _ in range(6)]
    for counts in (np.ones(IMAGES, int), np.eye(IMAGES, dtype=int)[0] * 3, *drawn):
        expected = resampled(truth, rows, counts).score()
        found = matches.average_precisions(counts)
        ap_by_class = [figures["AP"] for figures in expected.per_class.values()]
        np.testing.assert_allclose(found, ap_by_class, rtol=1e-12)
    assert matches.names == ["cell (id 2)", "cell (id 5)", "never there"]
    assert math.isnan(found[2])


def test_the_better_detector_is_clearly_better() -> None:
    """The interval holds the difference, the same seed gives it again, and noise widens it."""
    random = np.random.default_rng(5)
    truth = drawn_set(random)
    good, bad = (ImageMatches(truth, detector(truth, random, noise)) for noise in (0.5, 12.0))
    overall, per_class = paired_intervals(bad, good, resamples=200, seed=3)
    assert overall.low < overall.difference < overall.high
    assert overall.is_clear
    assert overall.low > 0
    assert math.isnan(per_class["never there"].difference)
    again, _ = paired_intervals(bad, good, resamples=200, seed=3)
    assert again == overall
    back, _ = paired_intervals(good, bad, resamples=200, seed=3)
    assert back.high == pytest.approx(-overall.low)
    same, _ = paired_intervals(good, good, resamples=5)
    assert (same.difference, same.low, same.high, same.is_clear) == (0.0, 0.0, 0.0, False)


def test_what_is_not_paired_is_refused() -> None:
    """Other images, other classes, no resample."""
    truth = drawn_set(np.random.default_rng(0))
    whole = ImageMatches(truth, [])
    assert whole.average_precisions().tolist()[:2] == [0.0, 0.0]
    fewer = ImageMatches(replace(truth, images=truth.images[1:]), [])
    one = ImageMatches(truth, [], category_ids=[2])
    for other in (fewer, one):
        with pytest.raises(ValueError, match="the same images and classes"):
            paired_intervals(whole, other)
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        paired_intervals(whole, whole, resamples=0)
