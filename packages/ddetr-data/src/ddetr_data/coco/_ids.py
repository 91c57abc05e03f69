"""Ids as JSON files write them: numbers, whole floats, digits in a text, or other texts."""

from __future__ import annotations

LARGEST_EXACT_ID = 2**53  # above it, readers that keep numbers as doubles mix ids up


def as_id(value: object) -> int | str | None:
    """Read an id; 7, 7.0 and "7" are one id, and None is given for what can be none."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str) or not value.strip():
        return None
    text = value.strip()
    try:
        return int(text) if text.lstrip("-").isdigit() else text
    except ValueError:  # digits that int() does not know, or thousands of them
        return text


def is_exact_id(identity: int | str) -> bool:
    """Whether an id can be kept: a number from 0 to 2**53."""
    return isinstance(identity, int) and 0 <= identity <= LARGEST_EXACT_ID
