"""Reading files of weights: .pth without running code, .safetensors, wrapped or prefixed."""

from __future__ import annotations

import argparse
import errno
import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ddetr_model.weights.sources import Source, name_of, open_source

__all__ = ["CheckpointError", "read_file", "tensors_of"]

# Where trainers put the tensors; averaged ones where there are no others.
WRAPPERS = (
    "state_dict",
    "model",
    "model_state_dict",
    "ema_state_dict",
    "model_ema",
    "ema_model",
    "ema",
    "module",
)
# Of Lightning and TAO, data-parallel training, torch.compile, and detectors with a mask head.
PREFIXES = ("model.", "module.", "_orig_mod.", "detr.")

_WRITTEN_BY_TORCH = (b"PK", b"\x80")  # a ZIP file of it, or a pickle as before PyTorch 1.6
_LFS_POINTER = b"version https://git-lfs"
_ENCRYPTED = b"DDETRENC"  # as ddetr_data writes it
_LONGEST_START = 64
_LARGEST_SAFETENSORS_HEADER = 10**8  # the format's own limit; its length stands in 8 bytes
# What torch.load raises for damaged files, beside pickle.UnpicklingError.
_FAULTS_OF_LOADING = (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError)


class CheckpointError(ValueError):
    """A file is no checkpoint, or not one of this detector."""


class Inert:
    """Stands for a foreign settings object in a pickle: it keeps its state and does nothing."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        """Take any arguments and drop them."""

    def __setstate__(self, state: Any) -> None:
        self.state = state


# Libraries whose settings trainers store beside the tensors, as Lightning's hyper-parameters, TAO's
# spec or OpenMMLab's log. Nothing of theirs is imported, so nothing of theirs can run.
SETTINGS_LIBRARIES = (
    *(f"builtins.{kind}" for kind in ("bool", "dict", "float", "int", "list", "str", "tuple")),
    "builtins.getattr",  # how a method is pickled; it gives nothing here
    "lightning",
    "lightning_fabric",
    "mmcv",
    "mmengine",
    "numpy",
    "nvidia_tao_core",
    "nvidia_tao_pytorch",
    "omegaconf",
    "pathlib",
    "pytorch_lightning",
    "typing",
)


def read_file(source: Source) -> dict[str, Any]:
    """Read a .pth or .safetensors file onto the CPU; only tensors and plain values are accepted.

    Args:
        source: its path, or the file itself opened with mode "rb", of any position.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is cut short, of another kind, or would run code.
    """
    name = name_of(source)
    with open_source(source) as file:
        start = _start(file, name)
        if name.endswith(".safetensors") or _is_safetensors(start):
            return _read_safetensors(file, name)
        return _read_torch(file, start, name)


def tensors_of(contents: Mapping[str, Any]) -> dict[str, Tensor]:
    """Find the named tensors of a file in whatever wraps them, trainers' prefixes removed.

    Tensors beside the model's, without the prefix that most have, keep their names.

    Raises:
        CheckpointError: a tensor is sparse or of complex numbers, which no detector has.
    """
    while wrapper := next((k for k in WRAPPERS if isinstance(contents.get(k), Mapping)), None):
        contents = contents[wrapper]
    tensors = {
        name: value
        for name, value in contents.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    for name, value in tensors.items():
        if value.layout != torch.strided or value.is_complex():
            kind = "complex" if value.is_complex() else "sparse"
            raise CheckpointError(f"{name} is a {kind} tensor, which no detector has")
    while prefix := next((p for p in PREFIXES if _is_common(p, tensors)), None):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _is_common(prefix: str, names: Iterable[str]) -> bool:
    begins = [name.startswith(prefix) for name in names]
    return 2 * sum(begins) > len(begins)


def _start(file: BinaryIO, name: str) -> bytes:
    """Read how a file begins.

    Raises:
        CheckpointError: as what is often saved instead of weights begins.
    """
    start = file.read(_LONGEST_START)
    file.seek(0)
    if start.startswith(_LFS_POINTER):
        raise CheckpointError(f"{name} is a Git LFS pointer, not the weights: run `git lfs pull`")
    if start.startswith(_ENCRYPTED):
        raise CheckpointError(
            f"{name} is encrypted: open it with ddetr_data.files.opened and give the open file"
        )
    if start.lstrip()[:1] == b"<":
        raise CheckpointError(f"{name} is a web page, not weights: download the file behind it")
    return start


def _read_torch(file: BinaryIO, start: bytes, name: str) -> dict[str, Any]:
    if not _is_whole(file):
        raise CheckpointError(_damage(name))
    foreign = _foreign_objects(file)
    inert: list[Any] = [(Inert, each) for each in foreign if _is_settings(each)]
    try:
        with torch.serialization.safe_globals([argparse.Namespace, *inert]), _wrong_seeks_told():
            contents = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        text = _refusal(name, foreign) if start.startswith(_WRITTEN_BY_TORCH) else _damage(name)
        raise CheckpointError(text) from error
    except _FAULTS_OF_LOADING as error:
        raise CheckpointError(_damage(name)) from error
    if not isinstance(contents, dict):
        raise CheckpointError(f"{name} holds a {type(contents).__name__}, not named tensors")
    return contents


def _is_whole(file: BinaryIO) -> bool:
    """Say whether a file's contents have the sums that PyTorch wrote beside them.

    torch.load does not look at them: a bit that has flipped in a tensor would be a weight. Files of
    before PyTorch 1.6 have no sums and pass.
    """
    try:
        if not zipfile.is_zipfile(file):
            return True
        with _wrong_seeks_told(), zipfile.ZipFile(file) as archive:
            return _is_stored(archive, file) and archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, struct.error, *_FAULTS_OF_LOADING):
        return False
    finally:
        file.seek(0)


def _is_stored(archive: zipfile.ZipFile, file: BinaryIO) -> bool:
    """Whether the parts lie in the file as they are; unpacking others could fill the memory."""
    parts = archive.infolist()
    length = file.seek(0, io.SEEK_END)
    return (
        all(each.compress_type == zipfile.ZIP_STORED for each in parts)
        and sum(each.file_size for each in parts) <= length
    )


def _damage(name: str) -> str:
    return f"{name} is no file of weights, or is damaged or cut short; copy it again"


def _foreign_objects(file: BinaryIO) -> list[str]:
    """Name the classes and functions that a file asks for beside tensors, without loading it."""
    try:
        with _wrong_seeks_told():
            found = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except (pickle.UnpicklingError, *_FAULTS_OF_LOADING):
        return []  # of the form before PyTorch 1.6, or damaged, which loading tells
    finally:
        file.seek(0)
    return sorted(set(found) - {"argparse.Namespace"})


@contextmanager
def _wrong_seeks_told() -> Iterator[None]:
    """Raise EOFError where a damaged file names a position before its own start."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise EOFError(str(error)) from error


def _is_settings(name: str) -> bool:
    return any(name == known or name.startswith(f"{known}.") for known in SETTINGS_LIBRARIES)


def _refusal(name: str, foreign: Sequence[str]) -> str:
    objects = ", ".join(each for each in foreign if not _is_settings(each)) or "Python objects"
    return (
        f"{name} holds {objects} beside its tensors, which would run code when read: if you trust "
        "it, convert it where it was made, with c = torch.load(file, weights_only=False) and "
        "torch.save({'model': c.get('model', c.get('state_dict'))}, 'plain.pth'), and read that"
    )


def _is_safetensors(start: bytes) -> bool:
    header_bytes = int.from_bytes(start[:8], "little")
    return start[8:9] == b"{" and header_bytes <= _LARGEST_SAFETENSORS_HEADER


def _read_safetensors(file: BinaryIO, name: str) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return dict(load(file.read()))
    except SafetensorError as error:
        raise CheckpointError(
            f"{name} is no safetensors file, or is cut short; copy it again"
        ) from error
