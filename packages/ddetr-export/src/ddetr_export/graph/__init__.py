"""The network as an ONNX graph; needs the extra [torch]."""

from ddetr_export.graph.network import ExportGraph
from ddetr_export.graph.postprocess import append_postprocess
from ddetr_export.graph.sampling import sample_by_gather, sample_by_grid
from ddetr_export.graph.torch_to_onnx import make_draft
from ddetr_export.graph.tracing import Signature, trace_to_onnx

__all__ = [
    "ExportGraph",
    "Signature",
    "append_postprocess",
    "make_draft",
    "sample_by_gather",
    "sample_by_grid",
    "trace_to_onnx",
]
