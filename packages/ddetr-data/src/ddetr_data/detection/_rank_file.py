"""Detections of one process, in a file until all processes have theirs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, TypeAlias

import numpy as np

from ddetr_data.files import naming
from ddetr_data.types import Detections

Found: TypeAlias = tuple[str, tuple[int, int], Detections]  # an image's name, width and height


class RankFile:
    """While entered, takes the detections of one image after the other; one JSON line each."""

    def __init__(self, folder: str | os.PathLike[str], kind: str, index: int) -> None:
        self._path = Path(folder, f".detections.{kind}.{index}.part")
        self._file: IO[str] | None = None

    def __enter__(self) -> RankFile:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("w", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            with naming(self._path.parent):
                self._file.close()

    def add(self, file_name: str, size_wh: tuple[int, int], found: Detections) -> None:
        """Append the detections of an image; JSON keeps every digit of them."""
        if self._file is None:
            raise ValueError("a rank file must be entered before detections are added")
        columns = (found.boxes_xyxy.tolist(), found.scores.tolist(), found.labels.tolist())
        with naming(self._path.parent):
            self._file.write(json.dumps((file_name, size_wh, *columns)) + "\n")

    def read(self) -> Iterator[Found]:
        """Give everything back in its order.

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
                yield file_name, (width, height), found


def remove_rank_files(folder: Path) -> None:
    """Remove the files of all processes; one that was killed could not remove its own."""
    for path in folder.glob(".detections.*.part"):
        with suppress(OSError):  # another process was quicker, or still writes
            path.unlink()
