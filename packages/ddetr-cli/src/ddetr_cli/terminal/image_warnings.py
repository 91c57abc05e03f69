"""Pillow's warnings of odd EXIF data and large images, which would cut through the progress bar."""

from __future__ import annotations

import os
import warnings

_MODULES = ("Image", "JpegImagePlugin", "MpoImagePlugin", "PngImagePlugin", "TiffImagePlugin")


def hide_image_warnings() -> None:
    """Leave it to the rules for faulty images what is said of one, here and in worker processes.

    The filters stand behind those of the person, who may still ask for the warnings.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.", append=True)
    ours = ",".join(f"ignore:::PIL.{module}" for module in _MODULES)
    asked = os.environ.get("PYTHONWARNINGS", "")
    if ours not in asked:
        os.environ["PYTHONWARNINGS"] = f"{ours},{asked}" if asked else ours
