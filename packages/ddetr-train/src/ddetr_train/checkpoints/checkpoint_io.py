"""How checkpoints reach the disk: whole or not at all, and read without running any code."""

from __future__ import annotations

import io
import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from typing_extensions import override

from ddetr_data.files import EncryptionError, decrypt_file, encrypting, is_encrypted
from ddetr_model.weights import FAULTS_OF_LOADING, is_whole


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, syncs and renames, so that no reader ever sees half a file.

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
        with replacing(Path(path)) as temporary:
            if self._key is None:
                torch.save(checkpoint, temporary)
            else:
                with temporary.open("wb") as file, encrypting(file, self._key) as target:
                    torch.save(checkpoint, target)

    @override
    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint as plain data and tensors on the CPU; pickled code is refused.

        Raises:
            ValueError: the file is no checkpoint, holds code, or the key does not open it.
        """
        try:
            source = opened(Path(path), self._key)
            loaded: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
        except EncryptionError:
            raise
        except (pickle.UnpicklingError, *FAULTS_OF_LOADING) as error:
            raise ValueError(f"{path} is no checkpoint, is cut short, or holds code") from error
        if isinstance(source, Path) and not is_whole(source):
            raise ValueError(f"{path} is damaged: its contents do not have the sums written there")
        return loaded

    @override
    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete the file if it is there."""
        Path(path).unlink(missing_ok=True)


def opened(path: Path, encryption_key: str | None) -> Path | io.BytesIO:
    """Give what torch.load reads: the path itself, or an encrypted file's content in memory.

    Raises:
        EncryptionError: the file is encrypted, and the key is absent or does not open it.
    """
    return decrypt_file(path, encryption_key) if is_encrypted(path) else path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file of the same folder; sync it and rename it to `path` at the end.

    Raises:
        OSError: it could not be written; `path` is then what it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()  # readable for whom the umask allows
    except OSError as error:
        raise _not_written(path, error) from error
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        raise _not_written(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def copy_whole(path: Path, other: Path) -> None:
    """Put the same contents under a second name, as a file of its own.

    A link would save disk, but whoever copies another file over one name would change both.

    Raises:
        OSError: it could not be written; `other` is then what it was.
    """
    with replacing(other) as temporary:
        shutil.copyfile(path, temporary)


def _not_written(path: Path, error: Exception) -> OSError:
    return OSError(f"{path} could not be written ({error}); the previous file is kept")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
