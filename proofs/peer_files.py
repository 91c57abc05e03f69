"""Other projects' files, imported as they are from a folder that is no part of this repository.

Checkouts (or the files below, in their folders) lie in .peers/, which git ignores, or in the folder
that DDETR_PEERS names. What a file imports of its project beside the compiled extension has a
stand-in of a few lines here; the files themselves are not changed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from proofs.record import ROOT
from torch import nn

from ddetr_ops.dropin import install, mmcv

__all__ = ["PEERS", "LoadedPeer", "Peer", "load_peer"]

FOLDER = Path(os.environ.get("DDETR_PEERS", ROOT / ".peers"))


@dataclass(frozen=True)
class LoadedPeer:
    """What a project's files define."""

    layer: type[nn.Module]
    function: Any  # the autograd function
    plain: Callable[..., Any]  # the same in plain PyTorch
    module: ModuleType  # of the layer


@dataclass(frozen=True)
class Peer:
    """A project: its files below a folder of .peers, and the names that they define."""

    folder: str
    files: tuple[str, ...]  # the last one defines the layer
    layer: str
    function: str
    plain: str

    def missing(self) -> list[str]:
        """Files that are not there, below .peers."""
        return [f"{self.folder}/{file}" for file in self.files if not self._path(file).is_file()]

    def blobs(self) -> dict[str, str]:
        """Each file's name in git, by which its version can be found."""
        found = {}
        for file in self.files:
            data = self._path(file).read_bytes()
            found[f"{self.folder}/{file}"] = hashlib.sha1(
                b"blob %d\0" % len(data) + data
            ).hexdigest()
        return found

    def modules(self, name: str) -> Iterator[ModuleType]:
        """Import the files under the package name."""
        sys.modules[name] = _package(name, FOLDER / self.folder)
        for file in self.files:
            *parts, last = Path(file).with_suffix("").parts
            whole = ".".join([name, *parts, *([] if last == "__init__" else [last])])
            yield _imported(whole, self._path(file))

    def _path(self, file: str) -> Path:
        return FOLDER / self.folder / file


_OPS = (
    "functions/__init__.py",
    "functions/ms_deform_attn_func.py",
    "modules/__init__.py",
    "modules/ms_deform_attn.py",
)
_ORIGINAL = ("MSDeformAttn", "MSDeformAttnFunction", "ms_deform_attn_core_pytorch")
_LATER = (
    "MultiScaleDeformableAttention",
    "MultiScaleDeformableAttnFunction",
    "multi_scale_deformable_attn_pytorch",
)
_GROUNDING = ("models/GroundingDINO/ms_deform_attn.py",)
PEERS = {
    "deformable_detr": Peer("Deformable-DETR/models/ops", _OPS, *_ORIGINAL),
    "dino": Peer("DINO/models/dino/ops", _OPS, *_ORIGINAL),
    "mask2former": Peer("Mask2Former/mask2former/modeling/pixel_decoder/ops", _OPS, *_ORIGINAL),
    "groundingdino": Peer("GroundingDINO/groundingdino", _GROUNDING, *_LATER),
    "mmcv": Peer("mmcv/mmcv", ("ops/multi_scale_deform_attn.py",), *_LATER),
}


def load_peer(name: str) -> LoadedPeer:
    """Import a project's files, with its compiled extension served by ddetr-ops.

    Raises:
        ImportError: a file imports what is neither there nor stood in for.
    """
    peer = PEERS[name]
    install("MultiScaleDeformableAttention", "groundingdino._C")
    if name == "mmcv":
        _stand_in_for_mmcv()
    modules = list(peer.modules(name))
    found = {key: value for module in modules for key, value in vars(module).items()}
    return LoadedPeer(found[peer.layer], found[peer.function], found[peer.plain], modules[-1])


def _imported(name: str, path: Path) -> ModuleType:
    """Import one file; packages around it that are not asked for are empty."""
    if name in sys.modules:
        return sys.modules[name]
    for parent in _parents(name):
        sys.modules.setdefault(parent, _package(parent))
    is_package = path.name == "__init__.py"
    spec = importlib.util.spec_from_file_location(
        name, path, submodule_search_locations=[str(path.parent)] if is_package else None
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _parents(name: str) -> list[str]:
    parts = name.split(".")[:-1]
    return [".".join(parts[: index + 1]) for index in range(len(parts))]


def _package(name: str, folder: Path | None = None) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = [str(folder)] if folder else []
    return module


class _BaseModule(nn.Module):
    def __init__(self, init_cfg: Any = None) -> None:
        super().__init__()
        self.init_cfg = init_cfg


class _Registry:
    def register_module(self) -> Callable[[type], type]:
        return lambda registered: registered


def _constant_init(module: nn.Linear, val: float, bias: float = 0) -> None:
    nn.init.constant_(module.weight, val)
    nn.init.constant_(module.bias, bias)


def _xavier_init(module: nn.Linear, bias: float = 0, **_: Any) -> None:
    nn.init.xavier_uniform_(module.weight)
    nn.init.constant_(module.bias, bias)


def _stand_in_for_mmcv() -> None:
    """mmengine's base class, registry and initialisation, and mmcv's loader of its extension."""
    names: dict[str, dict[str, Any]] = {
        "mmengine": {"ConfigDict": dict},
        "mmengine.model": {
            "BaseModule": _BaseModule,
            "constant_init": _constant_init,
            "xavier_init": _xavier_init,
        },
        "mmengine.registry": {"MODELS": _Registry()},
        "mmengine.utils": {"deprecated_api_warning": lambda *_, **__: lambda function: function},
        "mmcv.utils": {
            "IS_CUDA_AVAILABLE": False,
            "IS_MLU_AVAILABLE": False,
            "IS_MUSA_AVAILABLE": False,
            "IS_NPU_AVAILABLE": False,
        },
        "mmcv.utils.ext_loader": {"load_ext": lambda *_: mmcv},
    }
    for name, contents in names.items():
        module = sys.modules[name] = _package(name)
        vars(module).update(contents)
    sys.modules["mmcv.utils"].ext_loader = sys.modules["mmcv.utils.ext_loader"]  # type: ignore[attr-defined]
