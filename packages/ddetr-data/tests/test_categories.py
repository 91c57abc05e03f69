"""Comparing class tables, and naming classes."""

from __future__ import annotations

import pytest

from ddetr_data import Category, compare_categories
from ddetr_data.categories import ClassNames

CAR, PERSON, BUS = Category(1, "car"), Category(2, "person"), Category(3, "bus")
NAMES = {"first_name": "a.json", "second_name": "b.json"}


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        ((CAR, PERSON), (PERSON, CAR), None),
        ((CAR,), (), None),
        (
            (CAR, PERSON),
            (Category(1, "person"), Category(2, "car")),
            "class names differ: id 1 is 'car' in a.json and 'person' in b.json; "
            "id 2: 'person' and 'car'",
        ),
        ((CAR,), (CAR, BUS), "class names differ: id 3 is absent in a.json and 'bus' in b.json"),
        ((CAR, BUS), (CAR,), "class names differ: id 3 is 'bus' in a.json and absent in b.json"),
    ],
)
def test_differences_are_told_by_id(first, second, sentence) -> None:
    """The order of a table does not matter; an owner without classes differs from nobody."""
    assert compare_categories(first, second, **NAMES) == sentence


def test_the_second_table_may_be_a_part() -> None:
    """Labels may lack some of a model's classes: only what they list is compared."""
    assert compare_categories((CAR, BUS), (CAR,), **NAMES, second_may_lack=True) is None
    assert compare_categories((CAR,), (CAR, BUS), **NAMES, second_may_lack=True) is not None


def test_many_differences_are_counted() -> None:
    """Eighty classes in another order are one line to read."""
    first = [Category(number, f"a{number}") for number in range(80)]
    second = [Category(number, f"b{number}") for number in range(80)]
    sentence = compare_categories(first, second, **NAMES)
    assert sentence.count(";") == 8
    assert sentence.endswith("; and 72 more")


def test_a_class_without_a_name_is_called_by_its_id() -> None:
    """It is shown, not lost."""
    names = ClassNames((CAR, PERSON))
    assert (names[2], names[9]) == ("person", "class_9")
