"""How checkpoints reach the disk: whole or not at all, and read without running any code."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, BinaryIO

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from typing_extensions import override

from ddetr_data.files import encrypting, opened, replacing, write_whole
from ddetr_model.weights import read_file


class AtomicCheckpointIO(CheckpointIO):
    """Writes so that no reader ever sees half a file.

    With an encryption key nothing reaches the disk in clear; plain files are still read.
    """

    def __init__(self, encryption_key: str | None = None) -> None:
        self._key = encryption_key

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write the checkpoint; after an error the file that was there before still is.

        Raises:
            OSError: the folder cannot be written or the disk is full; the text names the file.
        """

        def save(file: BinaryIO) -> None:
            if self._key is None:
                torch.save(checkpoint, file)
            else:
                with encrypting(file, self._key) as target:
                    torch.save(checkpoint, target)

        write_whole(path, save)

    @override
    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint as plain data and tensors on the CPU; pickled code is refused.

        Raises:
            ValueError: the file is no checkpoint, holds code, or the key does not open it.
        """
        with opened(Path(path), self._key) as file:
            return read_file(file)

    @override
    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete the file if it is there."""
        Path(path).unlink(missing_ok=True)


def copy_whole(path: Path, other: Path) -> None:
    """Put the same contents under a second name, as a file of its own.

    A link would save disk, but whoever copies another file over one name would change both.

    Raises:
        OSError: it could not be written; `other` is then what it was.
    """
    with replacing(other) as draft:
        shutil.copyfile(path, draft)
