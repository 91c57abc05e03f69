"""Detection with an exported file, without torch."""

from ddetr_export.runtime.detector import Detector

__all__ = ["Detector"]
