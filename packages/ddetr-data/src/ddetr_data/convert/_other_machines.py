"""Reading labels on another machine, which must see the files that this one has listed."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass

from ddetr_data.convert.label_chunks import ChunkReader, LabelChunk
from ddetr_data.convert.sequences import LabelledFile
from ddetr_data.faults import DataError


@dataclass(frozen=True)
class RemoteReader:
    """Reads a chunk wherever it is called; picklable."""

    read: ChunkReader

    def __call__(self, files: Sequence[LabelledFile]) -> tuple[str, LabelChunk]:
        """Give the machine's name with what was read.

        Raises:
            DataError: an image that was listed elsewhere is not there.
        """
        node = platform.node()
        for file in files:
            if not os.path.lexists(file.image):
                raise unseen(node, str(file.image))
        return node, self.read(files)


def unseen(node: str, path: str) -> DataError:
    """Say that a machine lacks a file: left out, its image would be missing without a word."""
    return DataError(
        f"node {node} does not see {path}, which is there where the conversion began: give every "
        "node the same folder (a network's disk), or set executor=local"
    )


def refuse_unseen_labels(node: str, chunk: LabelChunk) -> None:
    """Refuse a chunk whose machine missed a label file that lies here.

    Raises:
        DataError: there is such a file.
    """
    for fault in chunk.tally.faults:
        if fault.reason == "missing_label_file" and os.path.exists(fault.where):
            raise unseen(node, fault.where)
