"""Calibrated files for INT8 engines, kept for the next build of the same file."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import onnx

from ddetr_data.files import EncryptionError, file_digests
from ddetr_data.images import PreprocessConfig, find_images
from ddetr_export.config import CalibrationConfig
from ddetr_export.onnx import is_quantized, read_metadata, read_model, to_int8, write_model
from ddetr_export.proof import read_images

logger = logging.getLogger(__name__)

_MAGIC = b"ddetr calibration of "  # then the digest, a line end, and the calibrated ONNX file


def calibrate(
    content: bytes, name: str, config: CalibrationConfig, encryption_key: str | None = None
) -> bytes:
    """Quantize an ONNX file's convolutions with ranges of the calibration images.

    With a cal_cache_file the result is kept there, encrypted if there is a key, and used again as
    long as the ONNX file and the images are the same; a cache of anything else is made anew. A
    file that is quantized already stays as it is and needs no image.

    Args:
        content: The ONNX file's bytes.
        name: What errors call it.
        config: Images and cache.
        encryption_key: The passphrase of the cache.

    Raises:
        ValueError: no image folder is given, or no image of it can be read.
        FileNotFoundError: an image folder is missing or empty.
    """
    model = onnx.load_from_string(content)
    if is_quantized(model):
        return content
    if not config.cal_image_dir:
        raise ValueError(
            "data_type INT8 needs tensorrt.calibration.cal_image_dir, a folder of typical images"
        )
    images = [path for folder in config.cal_image_dir for path, _ in find_images(folder)]
    images = images[: config.cal_batch_size * config.cal_batches]
    digest = hashlib.sha256(content)
    digest.update("".join(file_digests(images)).encode())
    header = _MAGIC + digest.hexdigest().encode() + b"\n"
    cache = Path(config.cal_cache_file) if config.cal_cache_file else None
    kept = _kept(cache, encryption_key)
    if kept.startswith(header):
        logger.info("calibration_cache=%s is used again", cache)
        return kept.removeprefix(header)
    preprocess_config = PreprocessConfig(**read_metadata(model, name).preprocess)
    calibrated: bytes = to_int8(model, read_images(images, preprocess_config)).SerializeToString()
    if cache is not None:
        write_model(cache, header + calibrated, encryption_key)
    return calibrated


def _kept(cache: Path | None, encryption_key: str | None) -> bytes:
    """What the cache holds; nothing where there is none or another key locked it."""
    if cache is None or not cache.is_file():
        return b""
    try:
        return read_model(cache, encryption_key)
    except EncryptionError as error:
        logger.warning("calibration_cache=%s is made anew: %s", cache, error)
        return b""
