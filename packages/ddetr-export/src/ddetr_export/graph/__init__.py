"""The network as an ONNX graph; needs the extra [torch]."""

import lazy_loader

# Found on first use, for not all of them need PyTorch; __init__.pyi says where each lives.
__all__ = [
    "ExportGraph",
    "Signature",
    "append_postprocess",
    "make_draft",
    "sample_by_gather",
    "sample_by_grid",
    "trace_to_onnx",
]

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)
