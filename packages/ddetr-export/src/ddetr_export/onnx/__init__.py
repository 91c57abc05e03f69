"""Exported ONNX files: their bytes, metadata, plugin nodes, number formats, and running them."""

import lazy_loader

# Found on first use; __init__.pyi says where each of them lives.
__all__ = [
    "DETECTION_OUTPUTS",
    "ENCRYPTED_SUFFIX",
    "PLUGIN_DOMAIN",
    "PLUGIN_INPUTS",
    "PLUGIN_OP",
    "RAW_OUTPUTS",
    "Array",
    "ExportMetadata",
    "Network",
    "NodeWriter",
    "OnnxNetwork",
    "beside",
    "check_signature",
    "complete_plugin_nodes",
    "embed_fallback",
    "filled_up",
    "fold_constants",
    "is_engine",
    "is_quantized",
    "load_onnx",
    "loading_problem",
    "locked",
    "open_on_cpu",
    "operator_problems",
    "plain_name",
    "plugin_function",
    "plugin_nodes",
    "plugin_problems",
    "prepare_standard",
    "read_metadata",
    "read_model",
    "seal",
    "silence_telemetry",
    "standard_opset",
    "to_fp16",
    "to_int8",
    "to_standard",
    "write_metadata",
    "write_model",
    "written_path",
]

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)
