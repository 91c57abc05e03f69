"""How checkpoints reach the disk: whole or not at all, and read without running any code."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from typing_extensions import override


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, syncs and renames, so that no reader ever sees half a file."""

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write the checkpoint; after an error the file that was there before still is.

        Raises:
            OSError: the folder cannot be written or the disk is full; the text names the file.
        """
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)

    @override
    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint as plain data and tensors on the CPU; pickled code is refused."""
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return loaded

    @override
    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete the file if it is there."""
        Path(path).unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file of the same folder; sync it and rename it to `path` at the end.

    Raises:
        OSError: it could not be written; `path` is then what it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except (OSError, RuntimeError) as error:
        raise OSError(f"{path} could not be written: {error}; the previous file is kept") from error
    finally:
        temporary.unlink(missing_ok=True)


def give_another_name(path: Path, other: Path) -> None:
    """Put the same contents under a second name, without using more disk where links work."""
    temporary = other.with_name(f".{other.name}.link.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, temporary)
        _sync(temporary)
    temporary.replace(other)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
