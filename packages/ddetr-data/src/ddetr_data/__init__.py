"""Detection data without surprises: COCO and KITTI reading, conversion, checks, scoring and preprocessing."""

from ddetr_data.__about__ import __version__

__all__ = ["__version__"]
