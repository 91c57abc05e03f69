"""How far a file's tensors and a model's tensors agree, by name and shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

__all__ = ["CLASS_HEADS", "COUNTER", "LoadReport", "compare", "first_names"]

COUNTER = ".num_batches_tracked"  # of live batch norms; no weight
CLASS_HEADS = "class_embed."
NAMES_SHOWN = 3


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

    @property
    def has_classes(self) -> bool:
        """Whether class heads were taken over, and with them the meaning of the class indices."""
        return any(CLASS_HEADS in name for name in self.loaded)

    def describe(self, source: str) -> str:
        """Say in one sentence what became of a source's tensors, naming the first of each kind."""
        parts = [f"loaded {len(self.loaded)} tensors of {source}"]
        kinds = (
            ("missing in the file", self.missing),
            ("unknown to the model", self.unexpected),
            ("of another shape and started anew", self.mismatched),
        )
        parts += [f"{len(names)} {words} ({first_names(names)})" for words, names in kinds if names]
        return "; ".join(parts)

    def by_part(self) -> list[tuple[str, dict[str, int]]]:
        """Count each part's tensors by field: (part, {"loaded": ..., "missing": ..., ...})."""
        columns = {field: _count(names) for field, names in self._asdict().items()}
        parts = sorted(set().union(*columns.values()))
        return [(part, {field: of[part] for field, of in columns.items()}) for part in parts]


def compare(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> LoadReport:
    """Match by name and shape; a batch norm's counter of steps is not missing nor unexpected."""
    shared = expected.keys() & found.keys()
    fitting = {name for name in shared if expected[name].shape == found[name].shape}
    return LoadReport(
        loaded=tuple(sorted(fitting)),
        missing=_weights(expected.keys() - found.keys()),
        unexpected=_weights(found.keys() - expected.keys()),
        mismatched=tuple(sorted(shared - fitting)),
    )


def first_names(names: Sequence[str]) -> str:
    """Write the first few of many names."""
    return ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")


def _weights(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(name for name in names if not name.endswith(COUNTER)))


def _count(names: Iterable[str]) -> Counter[str]:
    return Counter(_part_of(name) for name in names)


def _part_of(name: str) -> str:
    depth = 2 if name.startswith("transformer.") else 1
    return ".".join(name.split(".")[:depth])
