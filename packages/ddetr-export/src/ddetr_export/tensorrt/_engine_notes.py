"""`<engine>.json` beside an engine: the metadata of its ONNX file, and how it was built.

An engine file has no room for metadata, and trtexec takes it only as TensorRT wrote it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ddetr_export.onnx import ENCRYPTED_SUFFIX, ExportMetadata, read_model


@dataclass(frozen=True)
class EngineNotes:
    """What `<engine>.json` says."""

    metadata: ExportMetadata
    onnx_sha256: str
    data_type: str
    tensorrt_version: str
    batch_sizes: tuple[int, int, int]  # least, best, most


def notes_path(engine: Path) -> Path:
    """Give the path of an engine's notes: model.engine.json, or model.engine.json.enc."""
    if engine.suffix == ENCRYPTED_SUFFIX:
        return engine.with_name(f"{engine.stem}.json{ENCRYPTED_SUFFIX}")
    return engine.with_name(f"{engine.name}.json")


def notes_content(notes: EngineNotes) -> bytes:
    """Give the content of the notes' file."""
    content = {**vars(notes), "metadata": notes.metadata.to_properties()}
    return (json.dumps(content, indent=2) + "\n").encode()


def read_notes(engine: Path, encryption_key: str | None) -> EngineNotes:
    """Read what `notes_content` gave.

    Raises:
        FileNotFoundError: there are none.
        ValueError: they are something else, or the key does not open them.
    """
    path = notes_path(engine)
    if not path.is_file():
        raise FileNotFoundError(
            f"{engine} has no {path.name} beside it, which `ddetr gen_trt_engine` writes: "
            "copy it too, or build the engine with that command"
        )
    try:
        content = json.loads(read_model(path, encryption_key))
        least, best, most = content["batch_sizes"]
        return EngineNotes(
            metadata=ExportMetadata.from_properties(content["metadata"], str(path)),
            onnx_sha256=content["onnx_sha256"],
            data_type=content["data_type"],
            tensorrt_version=content["tensorrt_version"],
            batch_sizes=(least, best, most),
        )
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not what `ddetr gen_trt_engine` writes ({error})") from error
