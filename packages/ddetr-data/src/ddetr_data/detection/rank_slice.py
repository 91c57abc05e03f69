"""Work on many images divided among the processes of one run, in whole batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class RankSlice:
    """What one process of a run looks at; a process alone looks at everything.

    Every process makes the same batches as one alone would, so that results do not depend on how
    many there are. Whoever starts several processes gives them a `gather` that really gathers.
    """

    index: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes what belongs to all of them."""
        return self.index == 0

    def of(self, total: int, batch_size: int = 1) -> range:
        """Give this process's range of the positions 0..total-1, cut where a batch begins."""
        batches = -(-total // batch_size)
        first, last = (batches * each // self.count for each in (self.index, self.index + 1))
        return range(min(first * batch_size, total), min(last * batch_size, total))

    def gather(self, value: T) -> list[Any]:
        """Collect one value of every process, by index, on every process; waits for all."""
        if self.count > 1:
            raise NotImplementedError("several processes need a RankSlice that gathers")
        return [value]


ALONE = RankSlice()
