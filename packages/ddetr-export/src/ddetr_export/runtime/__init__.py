"""Detection with an exported file, without torch."""

from ddetr_export.runtime.detector import OnnxDetector, open_detector

__all__ = ["OnnxDetector", "open_detector"]
