"""Calibrated files for INT8 engines, kept for the next build of the same file."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx

from ddetr_data.preprocess import PreprocessConfig, preprocess
from ddetr_export.check_images import find_images
from ddetr_export.config import CalibrationConfig
from ddetr_export.int8 import to_int8
from ddetr_export.metadata import read_metadata

logger = logging.getLogger(__name__)

_MAGIC = b"ddetr calibration of "  # then the digest, a line end, and the calibrated ONNX file


def calibrate(onnx_file: Path, config: CalibrationConfig) -> bytes:
    """Quantize the file's convolutions with ranges of the calibration images.

    With a cal_cache_file the result is kept there, and used again as long as the ONNX file and
    the list of images are the same; a cache of anything else is made anew.

    Raises:
        ValueError: no image folder is given.
        FileNotFoundError: an image folder is missing or empty.
    """
    if not config.cal_image_dir:
        raise ValueError(
            "data_type INT8 needs tensorrt.calibration.cal_image_dir, a folder of typical images"
        )
    images = [path for folder in config.cal_image_dir for path in find_images(Path(folder))]
    images = images[: config.cal_batch_size * config.cal_batches]
    key = _digest(onnx_file, images)
    cache = Path(config.cal_cache_file) if config.cal_cache_file else None
    header = _MAGIC + key.encode() + b"\n"
    if cache is not None and cache.is_file():
        kept = cache.read_bytes()
        if kept.startswith(header):
            logger.info("calibration_cache=%s is used again", cache)
            return kept.removeprefix(header)
    content = _quantize(onnx_file, images)
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        draft = cache.with_name(f".{cache.name}.partial")
        draft.write_bytes(header + content)
        draft.replace(cache)
    return content


def _digest(onnx_file: Path, images: list[Path]) -> str:
    digest = hashlib.sha256(onnx_file.read_bytes())
    for path in images:
        digest.update(f"{path.name}:{path.stat().st_size}\n".encode())
    return digest.hexdigest()


def _quantize(onnx_file: Path, images: list[Path]) -> bytes:
    metadata = read_metadata(onnx.load(onnx_file), str(onnx_file))
    config = PreprocessConfig(**metadata.preprocess)
    pixels = np.stack([preprocess(path, config) for path in images])
    with tempfile.TemporaryDirectory() as folder:
        to_int8(onnx_file, Path(folder) / "int8.onnx", pixels)
        return (Path(folder) / "int8.onnx").read_bytes()
