"""Files that DeepStream and Triton want beside an exported model."""

from __future__ import annotations

from pathlib import Path

from ddetr_data.detection import InferenceConfig
from ddetr_export.config import ExportConfig
from ddetr_export.onnx import ExportMetadata
from ddetr_export.postprocessing import detectable_ids

_TAO_PARSER = "/opt/nvidia/deepstream/deepstream/lib/libnvds_infercustomparser_tao.so"
_THRESHOLD: float = InferenceConfig.model_fields["conf_threshold"].default
_DYNAMIC_BATCH_LIMIT = 16  # of the configurations; the file itself has none

SIDECAR_NAMES = ("labels.txt", "nvdsinfer_config.yaml", "config.pbtxt")


def sidecars(
    onnx_file: Path, config: ExportConfig, metadata: ExportMetadata, num_queries: int
) -> dict[Path, bytes]:
    """Contents of labels.txt, of nvinfer's configuration and of Triton's, by path.

    Nothing here ran in DeepStream or Triton: the keys are those of their public documentation.
    num_queries is what the file gives: two stages give no more than the image has pixels.
    """
    texts = (
        "".join(f"{name}\n" for name in _class_names(metadata)),
        _deepstream(onnx_file, config, metadata),
        _triton(onnx_file, config, metadata, num_queries),
    )
    return {
        onnx_file.with_name(name): text.encode()
        for name, text in zip(SIDECAR_NAMES, texts, strict=True)
    }


def _class_names(metadata: ExportMetadata) -> list[str]:
    """One name a class index; an index that no category has is called by its number."""
    names = {category.id: category.name for category in metadata.categories}
    return [names.get(index, f"class_{index}") for index in range(metadata.model["num_classes"])]


def _deepstream(onnx_file: Path, config: ExportConfig, metadata: ExportMetadata) -> str:
    mean, std = metadata.preprocess["mean"], metadata.preprocess["std"]
    # nvinfer knows one scale for all channels; the mean of the three is off by about 1 %.
    scale = 1 / (255 * sum(std) / len(std))
    offsets = ";".join(f"{255 * each:.4f}" for each in (mean * 3 if len(mean) == 1 else mean))
    modes = {"fp32": 0, "int8_qdq": 1, "fp16": 2}
    lines = [
        "property:",
        "  gpu-id: 0",
        f"  onnx-file: {onnx_file.name}",
        "  labelfile-path: labels.txt",
        f"  infer-dims: 3;{config.input_height};{config.input_width}",
        f"  batch-size: {_batch(config)}",
        f"  net-scale-factor: {scale:.12f}",
        f"  offsets: {offsets}",
        "  model-color-format: 0",
        "  maintain-aspect-ratio: 0",
        f"  network-mode: {modes[config.precision]}",
        "  network-type: 0",
        "  cluster-mode: 4",
        f"  num-detected-classes: {len(_class_names(metadata))}",
        *_parser(config, metadata),
        "class-attrs-all:",
        f"  pre-cluster-threshold: {_THRESHOLD}",
    ]
    return "\n".join(lines) + "\n"


def _parser(config: ExportConfig, metadata: ExportMetadata) -> list[str]:
    """Who reads the outputs: the function that DeepStream's TAO apps have for raw ones."""
    if config.postprocess:
        return [
            "  # nvinfer knows neither the input target_sizes nor these outputs: write a library",
            "  # with NvDsInferInitializeInputLayers and a function for parse-bbox-func-name.",
            "  output-blob-names: boxes;scores;labels",
        ]
    lines = [
        "  output-blob-names: pred_boxes;pred_logits",
        "  parse-bbox-func-name: NvDsInferParseCustomDDETRTAO",
        f"  custom-lib-path: {_TAO_PARSER}",
    ]
    if any(category.id == 0 for category in metadata.categories):
        lines.insert(0, "  # This function takes class 0 for background and drops it.")
    return lines


def _batch(config: ExportConfig) -> int:
    return _DYNAMIC_BATCH_LIMIT if config.batch_size == -1 else config.batch_size


def _triton(onnx_file: Path, config: ExportConfig, metadata: ExportMetadata, queries: int) -> str:
    # Triton batches only what has a free first dimension; a fixed batch is written into the sizes.
    fixed = [] if config.batch_size < 1 else [config.batch_size]
    model = metadata.model
    classes = model["num_classes"]
    inputs = [("inputs", "TYPE_FP32", [3, config.input_height, config.input_width])]
    outputs = [
        ("pred_logits", "TYPE_FP32", [queries, classes]),
        ("pred_boxes", "TYPE_FP32", [queries, 4]),
    ]
    if config.postprocess:
        detectable = len(detectable_ids(metadata.class_ids, classes))
        kept = min(config.num_select or model["num_select"], queries * detectable)
        inputs.append(("target_sizes", "TYPE_FP32", [2]))
        outputs = [
            ("boxes", "TYPE_FP32", [kept, 4]),
            ("scores", "TYPE_FP32", [kept]),
            ("labels", "TYPE_INT32", [kept]),
        ]
    return (
        f'name: "{onnx_file.stem}"\n'
        'platform: "onnxruntime_onnx"\n'
        f'default_model_filename: "{onnx_file.name}"\n'
        f"max_batch_size: {0 if fixed else _batch(config)}\n"
        f"input [{_tensors(inputs, fixed)}\n]\n"
        f"output [{_tensors(outputs, fixed)}\n]\n"
    )


def _tensors(tensors: list[tuple[str, str, list[int]]], fixed: list[int]) -> str:
    return ",".join(
        f'\n  {{ name: "{name}", data_type: {dtype}, dims: {[*fixed, *dims]} }}'
        for name, dtype, dims in tensors
    )
