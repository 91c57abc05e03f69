"""Detections of one process, in a file until all processes have theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np

from ddetr_data.files import naming
from ddetr_data.types import Detections

Found: TypeAlias = tuple[str, tuple[int, int], Detections]  # an image's name, width and height


@dataclass(frozen=True)
class RankFile:
    """Takes the detections of one image after the other; one JSON line each."""

    file: IO[str]
    folder: Path

    def add(self, file_name: str, size_wh: tuple[int, int], found: Detections) -> None:
        """Append the detections of an image; JSON keeps every digit of them."""
        columns = (found.boxes_xyxy.tolist(), found.scores.tolist(), found.labels.tolist())
        with naming(self.folder):
            self.file.write(json.dumps((file_name, size_wh, *columns)) + "\n")


@contextmanager
def rank_file(folder: Path, kind: str, index: int) -> Iterator[RankFile]:
    """Open the file of one process for writing, and close it when the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with naming(folder), _path(folder, kind, index).open("w", encoding="utf-8") as file:
        yield RankFile(file, folder)


def read_rank_file(folder: Path, kind: str, index: int) -> Iterator[Found]:
    """Give everything back in its order.

    Raises:
        FileNotFoundError: the file was written on a disk that this machine does not see.
    """
    with _path(folder, kind, index).open(encoding="utf-8") as lines:
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


def _path(folder: Path, kind: str, index: int) -> Path:
    return folder / f".detections.{kind}.{index}.part"
