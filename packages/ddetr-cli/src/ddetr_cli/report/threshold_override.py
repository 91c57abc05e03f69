"""The best threshold of each class as a section: figures, and an override that sets them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from ddetr_cli.report._sections import Code, Section, Table
from ddetr_cli.terminal import figure
from ddetr_data.detection import InferenceConfig
from ddetr_data.scoring import BestThreshold

OTHERS = "default"
USUAL: float = InferenceConfig.model_fields["conf_threshold"].default
_COLUMNS = ("class", "threshold", "F1", "precision", "recall", "objects", "")
_RULE = (
    "Of each class the score from which F1 is best at IoU 0.50, by COCO's matching; of equal F1 "
    "the highest, rounded down to as few digits as keep the same detections."
)


def threshold_sections(thresholds: Mapping[str, BestThreshold]) -> list[Section]:
    """Give a section of the table and of the override; none without thresholds."""
    if not thresholds:
        return []
    rows = [
        [
            name,
            _number(each.threshold) if not each.reason else "-",
            *map(figure, (each.f1, each.precision, each.recall)),
            str(each.objects),
            each.reason,
        ]
        for name, each in thresholds.items()
    ]
    override = threshold_override(thresholds)
    title = f"behind ddetr inference -e SPEC; other classes have {USUAL:g}"
    codes = [] if override is None else [Code(title, shlex.quote(override))]
    return [Section("Thresholds", note=_RULE, codes=codes, table=Table(_COLUMNS, rows))]


def threshold_override(thresholds: Mapping[str, BestThreshold]) -> str | None:
    """Write what sets them, as `inference.conf_threshold={default: 0.5, "car": 0.43}`.

    None where no class has one. Names that two classes have, or that mean something else in the
    block, are written as ids.
    """
    parts = [
        f"{_key(name, each.category_id)}: {_number(each.threshold)}"
        for name, each in thresholds.items()
        if not each.reason
    ]
    if not parts:
        return None
    return f"inference.conf_threshold={{{', '.join([f'{OTHERS}: {USUAL:g}', *parts])}}}"


def _key(name: str, category_id: int) -> str:
    """A name as a quoted word of YAML, with escapes for signs that act on a page or terminal."""
    if name == OTHERS or name.endswith(f"(id {category_id})"):
        return f'"{category_id}"'
    return '"' + "".join(map(_escaped, name)) + '"'


def _escaped(sign: str) -> str:
    if sign.isprintable() and sign not in '"\\':
        return sign
    return json.dumps(sign)[1:-1] if ord(sign) < 0x10000 else f"\\U{ord(sign):08x}"


def _number(value: float) -> str:
    return f"{value:.9f}".rstrip("0").ljust(4, "0")
