"""Checkpoints as models, plain or encrypted."""

from __future__ import annotations

from pathlib import Path

import torch

from ddetr_data.files import decrypt_file, is_encrypted
from ddetr_model import DeformableDETR, load_checkpoint
from ddetr_model.weights import metadata_of, tensors_of


def read_checkpoint(path: Path, encryption_key: str | None) -> DeformableDETR:
    """Read a detector, in eval mode on the CPU, with its metadata.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no checkpoint, encrypted and the key does not open it, or holds NaN.
    """
    model = _read(path, encryption_key)
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise ValueError(
                f"{path} has NaN or infinite values in {name}: its training went wrong, "
                "take an earlier checkpoint"
            )
    return model


def _read(path: Path, encryption_key: str | None) -> DeformableDETR:
    if not path.is_file() or not is_encrypted(path):
        return load_checkpoint(path)
    content = decrypt_file(path, encryption_key)
    contents = torch.load(content, map_location="cpu", weights_only=True)
    metadata = metadata_of(contents, path)
    model = DeformableDETR(metadata.model_config_, load_backbone_file=False)
    model.load_state_dict(tensors_of(contents))
    model.metadata = metadata
    return model.eval()
