"""Running any detector over a set: its scores, or its detections as files."""

import lazy_loader

# Found on first use; __init__.pyi says where each of them lives.
__all__ = [
    "ALONE",
    "DeviceConfig",
    "EvaluateConfig",
    "EventKind",
    "InferenceConfig",
    "InferenceSummary",
    "LabelOptions",
    "Observer",
    "RunEvent",
    "Share",
    "counted",
    "emit",
    "evaluate_detector",
    "find_media",
    "kitti_rows",
    "label_media",
    "named_by_classmap",
    "run_inference",
    "write_results",
]

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)
