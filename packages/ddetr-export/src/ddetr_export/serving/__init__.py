"""Detection over HTTP with an exported file: the extra [serve]."""

from ddetr_export.serving.server import create_app, serve
from ddetr_export.serving.service import BusyError, DetectionService, UploadLimits

__all__ = ["BusyError", "DetectionService", "UploadLimits", "create_app", "serve"]
