"""Which boxes are usable, by hand-worked cases in an image of 100 x 50 pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ddetr_data.boxes import (
    find_normalised,
    find_wrong_format,
    judge_boxes,
    outline_box,
    parse_boxes,
)

NAN = math.nan
SIZE_WH = (100, 50)


def judge(*boxes: list[float]) -> tuple[list[list[float]], list[str | None]]:
    """Give the boxes after clipping, and the fault of each."""
    sizes = np.tile(np.array(SIZE_WH, np.int32), (len(boxes), 1))
    clipped, masks = judge_boxes(np.array(boxes, np.float64).reshape(-1, 4), sizes)
    faults = [[name for name, mask in masks.items() if mask[row]] for row in range(len(boxes))]
    assert all(len(found) <= 1 for found in faults)
    return clipped.tolist(), [found[0] if found else None for found in faults]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (None, "missing_box"),
        ([1, 2, 3], "malformed_box"),
        ([1, 2, 3, 4, 5], "malformed_box"),
        ("1 2 3 4", "malformed_box"),
        ([1, 2, None, 4], "malformed_box"),
        ([1, 2, [3], 4], "malformed_box"),
        ([1, 2, "wide", 4], "malformed_box"),
        ([1, 2, 10**400, 4], "malformed_box"),
        ({"x": 1}, "malformed_box"),
    ],
)
def test_a_value_that_is_no_box_becomes_nan(value: object, fault: str) -> None:
    """A bad row is named and leaves its neighbours alone."""
    boxes, masks = parse_boxes([[1, 2, 3, 4], value])
    assert boxes[0].tolist() == [1, 2, 3, 4]
    assert np.isnan(boxes[1]).all()
    assert {name: mask.tolist() for name, mask in masks.items()} == {fault: [False, True]}


def test_numbers_as_texts_are_mended() -> None:
    """Texts that hold numbers are read, and counted."""
    boxes, masks = parse_boxes([["1", "2.5", 3, "4e0"]])
    assert boxes.tolist() == [[1, 2.5, 3, 4]]
    assert masks["text_box"].tolist() == [True]


@pytest.mark.parametrize("values", [[], [[1, 2, 3, 4]], [[1, 2.5, 3, 4], [0, 0, 1, 1]]])
def test_good_boxes_come_through(values: list[list[float]]) -> None:
    """Right values need no mending, also when there are none."""
    boxes, masks = parse_boxes(values)
    assert boxes.tolist() == values
    assert boxes.shape == (len(values), 4)
    assert not masks


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ([10, 10, 20, 20], None),
        ([0, 0, 100, 50], None),
        ([-0.6, 0, 20, 20], None),
        ([90, 40, 10.9, 10.9], None),
        ([NAN, 0, 5, 5], "not_finite_box"),
        ([0, 0, math.inf, 5], "not_finite_box"),
        ([30, 10, -20, 5], "inverted_box"),
        ([10, 10, 0, 5], "zero_box"),
        ([10, 10, 5, 1e-9], "zero_box"),
        ([0, 0, 1e6, 5], "huge_box"),
        ([100, 0, 5, 5], "outside_box"),
        ([-30, 0, 20, 5], "outside_box"),
        ([90, 10, 30, 10], "clipped_box"),
    ],
)
def test_every_box_has_one_verdict(box: list[float], fault: str | None) -> None:
    """A box is fine or has exactly one fault; a pixel over the border is rounding."""
    assert judge(box)[1] == [fault]


def test_a_box_over_the_border_is_clipped() -> None:
    """Only boxes that reach out by more than a pixel are changed."""
    boxes, faults = judge([-10, 20, 30, 60], [-0.5, 0, 20, 20])
    assert boxes == [[0, 20, 20, 30], [-0.5, 0, 20, 20]]
    assert faults == ["clipped_box", None]


def test_no_boxes_are_no_trouble() -> None:
    """An image set without any object passes."""
    assert judge() == ([], [])


def format_of(*boxes: list[float]) -> str | None:
    sizes = np.tile(np.array(SIZE_WH, np.int32), (len(boxes), 1))
    return find_wrong_format(np.array(boxes), sizes)


def test_normalised_and_corner_boxes_are_recognised() -> None:
    """A whole file in another format is told apart from a few odd boxes."""
    assert format_of([0.1, 0.1, 0.2, 0.9], [0, 0, 1, 1], [0.5, 0.5, 0.5, 0.1]) == (
        "normalised (0 to 1)"
    )
    corners = [[60.0, 20, 90, 40], [50.0, 30, 100, 50], [1.0, 1, 9, 9]]
    assert format_of(*corners) == "corners (left, top, right, bottom)"
    assert format_of([60, 20, 30, 20], [50, 30, 50, 20], [80, 10, 90, 20]) is None
    assert format_of([0.1, 0.1, 0.2, 0.9]) is None


def test_a_file_in_another_format_is_recognised_among_other_faults() -> None:
    """Inverted and NaN boxes say nothing, and one box in ten may be of another kind."""
    faulty = [[10.0, 10, -5, -5], [NAN, 0, 5, 5], [3.0, 3, 0, 9]]
    normalised, corners = [0.1, 0.1, 0.2, 0.9], [60.0, 20, 90, 40]
    odd = [200.0, 200, 5, 5]
    assert format_of(*faulty, odd, *[normalised] * 9) == "normalised (0 to 1)"
    assert format_of(*faulty, odd, *[corners] * 9) == "corners (left, top, right, bottom)"
    assert format_of(odd, odd, *[normalised] * 9) is None


def test_a_single_normalised_box_is_found() -> None:
    """Fractions of the first pixel are normalised; whole numbers and tiny images are believed."""
    boxes = np.array([[0.1, 0.2, 0.5, 0.25], [0, 0, 1, 1], [0.5, 0.5, 1.5, 1], [NAN, 0, 0.5, 1]])
    sizes = np.tile(np.array(SIZE_WH, np.int32), (len(boxes), 1))
    assert find_normalised(boxes, sizes).tolist() == [True, False, False, False]
    assert not find_normalised(boxes, np.full_like(sizes, 8)).any()


@pytest.mark.parametrize(
    ("segmentation", "box"),
    [
        ([[10, 20, 30, 25, 15, 60]], [10, 20, 20, 40]),
        ([[10, 20, 30, 25, 15, 60], [-5.5, 21, 12, 21, 12, 22]], [-5.5, 20, 35.5, 40]),
        ([[10, 20, 30, 25]], None),
        ([[10, 20, 30, 25, 15]], None),
        ([[10, 20, 30, 25, 15, 60], []], None),
        ([[10, 20, 30, 25, 15, NAN]], None),
        ([[10, 20, 30, 25, 15, 10**400]], None),
        ([[10, 20, 30, 25, 15, "60"]], None),
        ([10, 20, 30, 25, 15, 60], None),
        ([], None),
        ({"counts": [5, 2, 2, 2], "size": [4, 4]}, [1, 1, 2, 2]),
        ({"counts": [3, 2, 11], "size": [4, 4]}, [0, 0, 2, 4]),
        ({"counts": "5220", "size": [4, 4]}, [1, 1, 2, 2]),
        ({"counts": [16], "size": [4, 4]}, None),
        ({"counts": [5, 12], "size": [4, 4]}, None),
        ({"counts": [5, -2], "size": [4, 4]}, None),
        ({"counts": "o", "size": [4, 4]}, None),
        ({"counts": "\u00e9", "size": [4, 4]}, None),
        ({"counts": None, "size": [4, 4]}, None),
        ({"counts": [5, 2], "size": [4]}, None),
        ({"counts": [5, 2], "size": [0, 4]}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_box_lies_around_all_polygons(segmentation: object, box: list[float] | None) -> None:
    """Around a mask in run lengths too, packed or not; what is neither has none."""
    assert outline_box(segmentation) == box
