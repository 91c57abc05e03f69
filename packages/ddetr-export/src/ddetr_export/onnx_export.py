"""From a checkpoint to an ONNX file that is known to compute the same.

B images, H, W the input size, Q queries, C classes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import onnx
import torch

from ddetr_data.preprocess import PreprocessConfig
from ddetr_data.types import Category
from ddetr_export.certificate import certificate_path, certify
from ddetr_export.check_images import load_images
from ddetr_export.comparison import TOLERANCES, Comparison, Network, compare
from ddetr_export.config import ExportConfig
from ddetr_export.detections import FloatArray
from ddetr_export.divergence import first_divergence
from ddetr_export.drafting import OUTPUTS, write_draft
from ddetr_export.fp16 import to_fp16
from ddetr_export.graph_postprocess import append_postprocess
from ddetr_export.int8 import to_int8
from ddetr_export.metadata import ExportMetadata
from ddetr_export.plugin_file import embed_fallback
from ddetr_export.report import ExportError, ExportReport
from ddetr_export.session import open_session
from ddetr_export.sidecars import write_sidecars
from ddetr_model import DeformableDETR, load_checkpoint


def export_onnx(
    checkpoint: str | Path,
    onnx_file: str | Path,
    config: ExportConfig,
    *,
    on_progress: Callable[[str], None] | None = None,
) -> ExportReport:
    """Write the checkpoint's model as an ONNX file and compare it with PyTorch.

    Neither a GPU nor a data set is needed. The file appears under its name only when the
    comparison and the checks have passed; its certificate stands beside it.

    Args:
        checkpoint: A file of `ddetr_model.save_checkpoint` or of a training run.
        onnx_file: Where to write; its folder is made.
        config: Input size, opset, batch and the like.
        on_progress: Called with a few words as each step begins.

    Raises:
        FileNotFoundError: there is no checkpoint, or no image where config says.
        FileExistsError: onnx_file is there and config.overwrite is false.
        ValueError: the checkpoint or the wish is unusable.
        ExportError: ONNX Runtime and PyTorch differ, or TensorRT would refuse the file.
    """
    started = time.perf_counter()
    tell = on_progress or (lambda _step: None)
    target = Path(onnx_file)
    _check_target(target, config)
    tell("reading the checkpoint")
    model = load_checkpoint(checkpoint)
    metadata = describe(model, config)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        draft = Path(folder) / target.name
        tell("tracing the network")
        graph = write_draft(model, draft, config, metadata)
        _lower_precision(draft, config, metadata)
        tell("comparing ONNX Runtime with PyTorch")
        images = load_images(
            config.check_image_dir, config.check_images, PreprocessConfig(**metadata.preprocess)
        )
        runnable = _runnable(draft, config)
        comparison = _compare(model, runnable, config, images)
        if comparison.problems():
            place = first_divergence(
                graph, runnable, _one_run(images, config), comparison.tolerance
            )
            _refuse(target, [*comparison.problems(), *([f"first in {place}"] if place else [])])
        _complete(draft, model, config)
        certificate = certify(draft, Path(checkpoint), comparison, config.opset_version)
        if certificate.problems:
            _refuse(target, certificate.problems)
        draft.replace(target)
    certificate.write(certificate_path(target))
    if config.serialize_nvdsinfer:
        write_sidecars(target, config, metadata)
    return ExportReport(
        path=target,
        opset=config.opset_version,
        nodes=certificate.facts["nodes"],
        megabytes=target.stat().st_size / 1e6,
        max_error_logits=comparison.max_error_logits,
        max_error_boxes=comparison.max_error_boxes,
        seconds=time.perf_counter() - started,
    )


def describe(model: DeformableDETR, config: ExportConfig) -> ExportMetadata:
    """Collect what the file will say about itself.

    A checkpoint without preprocessing gets the usual ImageNet normalisation; the size of the
    image is the exported one, whatever it was in training.
    """
    if model.metadata is None:
        raise ValueError("the model has no metadata; load it with ddetr_model.load_checkpoint")
    known = model.metadata.preprocess or {}
    preprocess = PreprocessConfig(
        **{**known, "mode": "fixed", "height": config.input_height, "width": config.input_width}
    )
    return ExportMetadata(
        categories=tuple(Category(each["id"], each["name"]) for each in model.metadata.categories),
        preprocess=preprocess.model_dump(mode="json"),
        model=model.config.model_dump(mode="json"),
    )


def _check_target(target: Path, config: ExportConfig) -> None:
    if target.is_dir():
        raise ValueError(f"onnx_file must name a file, {target} is a folder")
    if target.exists() and not config.overwrite:
        raise FileExistsError(f"{target} exists; give another onnx_file or export.overwrite=true")


def _lower_precision(draft: Path, config: ExportConfig, metadata: ExportMetadata) -> None:
    if config.precision == "fp16":
        draft.write_bytes(to_fp16(onnx.load(draft)).SerializeToString())
    if config.precision == "int8_qdq":
        preprocess = PreprocessConfig(**metadata.preprocess)
        images = load_images(config.calibration_image_dir, config.calibration_images, preprocess)
        to_int8(draft, draft, images)


def _compare(
    model: DeformableDETR, runnable: Path, config: ExportConfig, images: FloatArray
) -> Comparison:
    return compare(
        _exported_network(runnable),
        _pytorch_network(model),
        images,
        (1, max(2, len(images))) if config.batch_size == -1 else (config.batch_size,),
        num_select=model.config.num_select,
        tolerance=TOLERANCES[config.precision],
    )


def _one_run(images: FloatArray, config: ExportConfig) -> FloatArray:
    """Images for one run: one, or as many as the file's fixed batch."""
    return images[np.arange(max(1, config.batch_size)) % len(images)]


def _runnable(draft: Path, config: ExportConfig) -> Path:
    """The draft, or beside it the draft with the body of its plugin nodes."""
    if config.on_cpu:
        return draft
    exported = onnx.load(draft)
    embed_fallback(exported)
    runnable = draft.with_name(f"runnable-{draft.name}")
    runnable.write_bytes(exported.SerializeToString())
    return runnable


def _exported_network(path: Path) -> Network:
    session = open_session(path, ["CPUExecutionProvider"])

    def run(images: FloatArray) -> tuple[FloatArray, FloatArray]:
        logits, boxes = session.run(OUTPUTS, {"inputs": images})
        return logits, boxes

    return run


def _pytorch_network(model: DeformableDETR) -> Network:
    @torch.no_grad()
    def run(images: FloatArray) -> tuple[FloatArray, FloatArray]:
        outputs = model(torch.from_numpy(images))
        return outputs["pred_logits"].numpy(), outputs["pred_boxes"].numpy()

    return run


def _complete(draft: Path, model: DeformableDETR, config: ExportConfig) -> None:
    """Add what stands around the compared network: post-processing, and the plugin's body."""
    exported = onnx.load(draft)
    if config.postprocess:
        append_postprocess(exported, config.num_select or model.config.num_select)
    if not config.on_cpu and config.embed_fallback:
        embed_fallback(exported)
    draft.write_bytes(exported.SerializeToString())


def _refuse(target: Path, problems: Sequence[str]) -> NoReturn:
    raise ExportError(f"{target} was not written: {'; '.join(problems)}")
