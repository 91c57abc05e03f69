"""How far a file's tensors and a model's tensors agree, by name and shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

__all__ = ["LoadReport", "compare"]

COUNTER = ".num_batches_tracked"  # of live batch norms; no weight
CLASS_HEADS = "class_embed."


class LoadReport(NamedTuple):
    """Names of tensors, sorted: what fits, and what does not on either side."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]  # the model has it, the file has not
    unexpected: tuple[str, ...]  # the file has it, the model has not
    mismatched: tuple[str, ...]  # both have it, in different shapes

    @property
    def misfits(self) -> tuple[str, ...]:
        """Mismatched tensors beside the class heads, which depend on the number of classes."""
        return tuple(name for name in self.mismatched if CLASS_HEADS not in name)

    def table(self) -> str:
        """Count loaded, missing, mismatched and unexpected tensors of each part, a line each."""
        columns = [_count(names) for names in self]
        parts = sorted(set().union(*columns))
        lines = [f"{'part':<24}{'loaded':>8}{'missing':>9}{'unexpected':>12}{'mismatched':>12}"]
        for part in parts:
            loaded, missing, unexpected, mismatched = (column[part] for column in columns)
            lines.append(f"{part:<24}{loaded:>8}{missing:>9}{unexpected:>12}{mismatched:>12}")
        return "\n".join(lines)


def compare(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> LoadReport:
    """Match tensors by name; a batch norm's counter of steps is never missing."""
    shared = expected.keys() & found.keys()
    fitting = {name for name in shared if expected[name].shape == found[name].shape}
    missing = expected.keys() - found.keys()
    return LoadReport(
        loaded=tuple(sorted(fitting)),
        missing=tuple(sorted(name for name in missing if not name.endswith(COUNTER))),
        unexpected=tuple(sorted(found.keys() - expected.keys())),
        mismatched=tuple(sorted(shared - fitting)),
    )


def _count(names: Iterable[str]) -> Counter[str]:
    return Counter(_part_of(name) for name in names)


def _part_of(name: str) -> str:
    depth = 2 if name.startswith("transformer.") else 1
    return ".".join(name.split(".")[:depth])
