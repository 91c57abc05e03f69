"""Parsing the bytes of an ONNX file."""

from __future__ import annotations

from pathlib import Path

import onnx

from ddetr_export.onnx.digest import check_digest, check_digest_name


def load_onnx(content: bytes, source: Path) -> onnx.ModelProto:
    """Parse an ONNX file's bytes.

    Raises:
        ValueError: they are something else, or damaged.
    """
    check_digest(content, source)
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_from_string(content)
    except DecodeError as error:
        raise ValueError(
            f"{source} is no ONNX file, or is cut short; export or copy it again"
        ) from error
    check_digest_name([entry.key for entry in model.metadata_props], source)
    if not model.graph.input:
        raise ValueError(f"{source} is no ONNX file of a network: it has no input")
    return model
