"""What a request asks for behind the `?`: least scores, and classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddetr_data import Category, Detections, Threshold, class_thresholds
from ddetr_data.detection import InferenceConfig
from ddetr_export.serving._uploads import RefusedError

if TYPE_CHECKING:
    from fastapi import Request

__all__ = ["PARAMETERS", "Wanted", "read_query"]

_USUAL: float = InferenceConfig.model_fields["conf_threshold"].default
_MOST_IDS = 20  # that a sentence lists
_MOST_DIGITS, _MOST_IDS = 10, 20  # of an id, and of ids that a sentence lists
_LONGEST = 200  # characters of a value that a sentence repeats
PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "threshold",
        "in": "query",
        "description": "Least score; or, as JSON, one for each class by name or id, and as default "
        'for all others: {"default": 0.5, "car": 0.4}.',
        "schema": {
            "anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string"}],
            "default": _USUAL,
        },
    },
    {
        "name": "category_id",
        "in": "query",
        "description": "The classes that are wanted, by id; absent: all.",
        "style": "form",
        "explode": True,
        "schema": {"type": "array", "items": {"type": "integer"}},
    },
]


@dataclass(frozen=True)
class Wanted:
    """What of the detections is answered."""

    threshold: Threshold = _USUAL
    category_ids: frozenset[int] | None = None  # None: all

    def of(self, found: Detections) -> Detections:
        """Leave out the others."""
        kept = found.above(self.threshold)
        return kept if self.category_ids is None else kept.of_classes(self.category_ids)


def read_query(request: Request, categories: Sequence[Category]) -> Wanted:
    """Read what is wanted of a model with these classes.

    Raises:
        RefusedError: a number is none, or a class is not the model's.
    """
    written = request.query_params.get("threshold")
    ids = request.query_params.getlist("category_id")
    threshold = _USUAL if written is None else _threshold(written, categories)
    return Wanted(threshold, frozenset(_id(each, categories) for each in ids) if ids else None)


def _threshold(written: str, categories: Sequence[Category]) -> Threshold:
    is_block = written.lstrip().startswith("{")
    rule = "an object of numbers by class in JSON" if is_block else "a number from 0 to 1"
    try:
        value = json.loads(written) if is_block else float(written)
    except (ValueError, RecursionError):
        raise RefusedError(422, f"threshold must be {rule}, got {written[:_LONGEST]}") from None
    try:
        return class_thresholds(value, categories, _USUAL, "threshold")
    except ValueError as error:
        text = str(error) if is_block else f"threshold must be {rule}, got {written}"
        raise RefusedError(422, text[:_LONGEST]) from None


def _id(written: str, categories: Sequence[Category]) -> int:
    known = {each.id for each in categories}
    if not (written.isascii() and written.isdigit() and len(written) < _MOST_DIGITS):
        text = f"category_id must be a whole number, got {written[:_LONGEST]}"
        raise RefusedError(422, text)
    if known and int(written) not in known:
        shown = ", ".join(map(str, sorted(known)[:_MOST_IDS]))
        text = f"category_id {written} is no class of the model, which has {shown}"
        raise RefusedError(422, text)
    return int(written)
