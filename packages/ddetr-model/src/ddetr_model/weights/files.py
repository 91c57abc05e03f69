"""Reading files of weights: .pth without running code, .safetensors, wrapped or prefixed."""

from __future__ import annotations

import argparse
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["FAULTS_OF_LOADING", "CheckpointError", "is_whole", "read_file", "tensors_of"]

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
_LONGEST_START = 64
# What torch.load raises for damaged files, beside pickle.UnpicklingError.
FAULTS_OF_LOADING = (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError)


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


def read_file(path: Path) -> dict[str, Any]:
    """Read a .pth or .safetensors file onto the CPU; only tensors and plain values are accepted.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is cut short, of another kind, or would run code.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    start = _first_bytes(path)
    if path.suffix == ".safetensors":
        return dict(_read_safetensors(path))
    if not is_whole(path):
        raise CheckpointError(_damage(path))
    foreign = _foreign_objects(path)
    inert: list[Any] = [(Inert, name) for name in foreign if _is_settings(name)]
    try:
        with torch.serialization.safe_globals([argparse.Namespace, *inert]):
            contents = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        text = _refusal(path, foreign) if start.startswith(_WRITTEN_BY_TORCH) else _damage(path)
        raise CheckpointError(text) from error
    except FAULTS_OF_LOADING as error:
        raise CheckpointError(_damage(path)) from error
    if not isinstance(contents, dict):
        raise CheckpointError(f"{path} holds a {type(contents).__name__}, not named tensors")
    return contents


def is_whole(path: Path) -> bool:
    """Say whether a file's contents have the sums that PyTorch wrote beside them.

    torch.load does not look at them: a bit that has flipped in a tensor would be a weight. Files of
    before PyTorch 1.6 have no sums and pass.
    """
    if not zipfile.is_zipfile(path):
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, struct.error, *FAULTS_OF_LOADING):
        return False


def tensors_of(contents: Mapping[str, Any]) -> dict[str, Tensor]:
    """Find the named tensors of a file in whatever wraps them, trainers' prefixes removed.

    Tensors beside the model's, without the prefix that most have, keep their names.
    """
    while wrapper := next((k for k in WRAPPERS if isinstance(contents.get(k), Mapping)), None):
        contents = contents[wrapper]
    tensors = {name: value for name, value in contents.items() if isinstance(value, Tensor)}
    while prefix := next((p for p in PREFIXES if _is_common(p, tensors)), None):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _is_common(prefix: str, names: Iterable[str]) -> bool:
    begins = [name.startswith(prefix) for name in names]
    return 2 * sum(begins) > len(begins)


def _first_bytes(path: Path) -> bytes:
    """Read how a file begins.

    Raises:
        CheckpointError: as what is often saved in the place of weights begins.
    """
    with path.open("rb") as file:
        start = file.read(_LONGEST_START)
    if start.startswith(_LFS_POINTER):
        raise CheckpointError(f"{path} is a Git LFS pointer, not the weights: run `git lfs pull`")
    if start.lstrip()[:1] == b"<":
        raise CheckpointError(f"{path} is a web page, not weights: download the file behind it")
    return start


def _damage(path: Path) -> str:
    return f"{path} is no file of weights, or is damaged or cut short"


def _foreign_objects(path: Path) -> list[str]:
    """Name the classes and functions that a file asks for beside tensors, without loading it."""
    try:
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (pickle.UnpicklingError, *FAULTS_OF_LOADING):
        return []  # of the form before PyTorch 1.6, or damaged, which loading tells
    return sorted(set(found) - {"argparse.Namespace"})


def _is_settings(name: str) -> bool:
    return any(name == known or name.startswith(f"{known}.") for known in SETTINGS_LIBRARIES)


def _refusal(path: Path, foreign: Sequence[str]) -> str:
    objects = ", ".join(name for name in foreign if not _is_settings(name)) or "Python objects"
    return (
        f"{path} holds {objects} beside its tensors, which would run code when read: if you trust "
        "it, convert it where it was made, with c = torch.load(file, weights_only=False) and "
        "torch.save({'model': c.get('model', c.get('state_dict'))}, 'plain.pth'), and read that"
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no safetensors file, or is cut short") from error
