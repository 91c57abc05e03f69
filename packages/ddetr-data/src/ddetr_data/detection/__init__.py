"""Running any detector over a set: its scores, or its detections as files."""

import lazy_loader

# Found on first use; __init__.pyi says where each of them lives.
__all__ = [
    "ALONE",
    "Detector",
    "DetectorError",
    "DeviceConfig",
    "EvaluateConfig",
    "EventKind",
    "ImageDetections",
    "InferenceConfig",
    "InferenceSummary",
    "Labelled",
    "LeftOut",
    "NamedImage",
    "Observer",
    "Precision",
    "Prepared",
    "PreparedEvaluation",
    "PreparedLabelling",
    "Progress",
    "RankSlice",
    "ResultWriter",
    "RunEvent",
    "Runtime",
    "add_detections",
    "detect",
    "detect_in",
    "emit",
    "evaluate",
    "find_media",
    "kitti_rows",
    "label",
    "limit_notices",
    "prepare_evaluation",
    "prepare_labelling",
    "prepared_batches",
    "raised_num_select",
    "write_results",
]

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)
