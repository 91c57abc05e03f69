from .export_graph import ExportGraph as ExportGraph
from .postprocess import append_postprocess as append_postprocess
from .sampling import sample_by_gather as sample_by_gather
from .sampling import sample_by_grid as sample_by_grid
from .torch_to_onnx import make_draft as make_draft
from .tracing import Signature as Signature
from .tracing import trace_to_onnx as trace_to_onnx
