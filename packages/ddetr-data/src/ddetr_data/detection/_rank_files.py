"""Detections of one process's share, in a file until all processes have theirs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from ddetr_data.types import Detections

__all__ = ["Spool", "spools_of_failures_removed"]


class Spool:
    """While entered, takes the detections of one image after the other; one JSON line each."""

    def __init__(self, folder: str | os.PathLike[str], kind: str, index: int) -> None:
        self._path = Path(folder, f".detections.{kind}.{index}.part")
        self._file: IO[str] | None = None

    def __enter__(self) -> Spool:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("w", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._file is not None:
                self._file.close()
        except OSError:  # a full disk
            self._path.unlink(missing_ok=True)
            raise
        if error is not None:
            self._path.unlink(missing_ok=True)

    def add(self, file_name: str, size_wh: tuple[int, int], found: Detections) -> None:
        """Append the detections of an image; JSON keeps every digit of them."""
        if self._file is None:
            raise ValueError("a spool must be entered before detections are added")
        columns = (found.boxes_xyxy.tolist(), found.scores.tolist(), found.labels.tolist())
        self._file.write(json.dumps((file_name, size_wh, *columns)) + "\n")

    def empty_into(self, keep: Callable[[str, tuple[int, int], Detections], None]) -> None:
        """Hand everything on in its order, and delete the file.

        Raises:
            FileNotFoundError: the file was written on a disk that this machine does not see.
        """
        with self._path.open(encoding="utf-8") as lines:
            for line in lines:
                file_name, (width, height), boxes, scores, labels = json.loads(line)
                found = Detections(
                    np.array(boxes, np.float32).reshape(-1, 4),
                    np.array(scores, np.float32),
                    np.array(labels, np.int64),
                )
                keep(file_name, (width, height), found)
        self._path.unlink()


@contextmanager
def spools_of_failures_removed(folder: Path) -> Iterator[None]:
    """Remove the spools of all processes when the block fails; one that was killed could not."""
    try:
        yield
    except BaseException:
        for path in folder.glob(".detections.*.part"):
            with suppress(OSError):  # another process was quicker, or still writes
                path.unlink()
        raise
