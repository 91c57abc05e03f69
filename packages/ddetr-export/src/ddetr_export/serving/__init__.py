"""Detection over HTTP with an exported file: the extra [serve]."""

import lazy_loader

# Found on first use; __init__.pyi says where each of them lives.
__all__ = ["BusyError", "DetectionService", "ServeConfig", "create_app", "serve"]

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)
