"""Writing a model file so that it appears whole or not at all.

ddetr-data has the writer of a run's results, with locks and cleaning; this package does without it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["writing_whole"]


@contextmanager
def writing_whole(path: Path) -> Iterator[BinaryIO]:
    """Give an open file that takes the place of `path` when the block succeeds, making its folder.

    It lies beside it under a short name that depends on the path's alone, so that what a killed
    process left is written over by the next one. One process at a time may write a path.

    Raises:
        OSError: the file cannot be written; the error names it, and what was there still is.
    """
    digest = hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()
    draft = path.with_name(f".ddetr-model-{digest}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save makes a RuntimeError of a full disk's
        fault = error if isinstance(error, OSError) else error.__context__
        if not isinstance(fault, OSError) or fault.errno is None:
            raise
        raise OSError(fault.errno, fault.strerror, str(path)) from error
    finally:
        draft.unlink(missing_ok=True)
