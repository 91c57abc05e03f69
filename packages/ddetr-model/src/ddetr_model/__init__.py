"""Deformable DETR in PyTorch with the published parameter names, losses and post-processing."""

import lazy_loader

# Found on first use; __init__.pyi says where each of them lives.
__all__ = [
    "CheckpointError",
    "CheckpointMetadata",
    "DeformableDETR",
    "DeformableTransformer",
    "DenoisedOutput",
    "DetectorOutput",
    "ExportForms",
    "HasExportForm",
    "HungarianMatcher",
    "InferenceForm",
    "LayerOutput",
    "LoadReport",
    "LossConfig",
    "ModelConfig",
    "ModelSummary",
    "Pyramid",
    "SetCriterion",
    "__version__",
    "check_export_form",
    "count_activation_bytes",
    "describe_frozen",
    "export_huggingface",
    "export_original",
    "freeze_modules",
    "freeze_norms_as_in",
    "import_checkpoint",
    "inference_form",
    "load_checkpoint",
    "load_pretrained",
    "metadata_dict",
    "parts_from_outside",
    "postprocess",
    "read_metadata",
    "save_checkpoint",
    "summarize",
    "use_fast_layers",
]

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)
