"""From a checkpoint to an ONNX file that is known to compute the same.

B images, H, W the input size, Q queries, C classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import onnx
import torch

from ddetr_data import Category
from ddetr_data.coco import DetectionSet
from ddetr_data.files import Content, model_source, write_all
from ddetr_data.images import PreprocessConfig
from ddetr_export.config import ExportConfig
from ddetr_export.graph import ExportGraph, append_postprocess, make_draft
from ddetr_export.onnx import (
    RAW_OUTPUTS,
    ExportMetadata,
    embed_fallback,
    locked,
    open_session,
    to_fp16,
    to_int8,
    written_path,
)
from ddetr_export.postprocessing import FloatArray
from ddetr_export.proof import (
    TOLERANCES,
    Certificate,
    Comparison,
    Forward,
    Score,
    certificate_path,
    certify,
    compare,
    first_divergence,
    load_images,
    score_networks,
)
from ddetr_export.report import ExportError, ExportReport
from ddetr_export.sidecars import SIDECAR_NAMES, sidecars
from ddetr_model import DeformableDETR, load_checkpoint

Tell = Callable[[str], None]


def export_onnx(
    checkpoint: str | Path,
    onnx_file: str | Path,
    config: ExportConfig,
    *,
    encryption_key: str | None = None,
    labelled: DetectionSet | None = None,
    category_ids: Sequence[int] | None = None,
    on_progress: Tell | None = None,
) -> ExportReport:
    """Write the checkpoint's model as an ONNX file and compare it with PyTorch.

    Neither a GPU nor a data set is needed. The file appears under its name only when the
    comparison and the checks have passed; its certificate stands beside it.

    Args:
        checkpoint: Whatever `ddetr_model.load_checkpoint` reads, plain or encrypted.
        onnx_file: Where to write; its folder is made.
        config: Input size, opset, batch and the like.
        encryption_key: Opens an encrypted checkpoint; the model is then written encrypted, with
            `.enc` behind its name, and nothing of it reaches the disk in clear.
        labelled: Images to score the file and PyTorch on; config.score_images of them.
        category_ids: Classes that count in the scores; None is all.
        on_progress: Called with a few words as each step begins.

    Raises:
        FileNotFoundError: there is no checkpoint, or no image where config says.
        FileExistsError: the file is there and config.overwrite is false.
        ValueError: the checkpoint or the wish is unusable, or the key does not open it.
        ExportError: ONNX Runtime and PyTorch differ, or TensorRT would refuse the file.
    """
    started = time.perf_counter()
    target = checked_target(onnx_file, config, encryption_key)
    tell = on_progress or _ignore
    tell("reading the checkpoint")
    with model_source(Path(checkpoint), encryption_key) as source:
        model = load_checkpoint(source)
    if labelled is not None:
        _check_classes(labelled, model)
    export = _Export.begin(model, config, tell, target)
    comparison = export.compare()
    scores: tuple[Score, ...] = ()
    if labelled is not None and config.score_images:
        scores = export.score(labelled, category_ids)
    finished = export.finished_model()
    certificate = certify(finished, Path(checkpoint), comparison, config.opset_version, scores)
    if certificate.problems:
        export.refuse(certificate.problems)
    export.write(finished, certificate, encryption_key)
    return ExportReport(
        path=target,
        opset=config.opset_version,
        nodes=certificate.facts["nodes"],
        megabytes=target.stat().st_size / 1e6,
        max_error_logits=comparison.max_error_logits,
        max_error_boxes=comparison.max_error_boxes,
        seconds=time.perf_counter() - started,
        scores=scores,
    )


def checked_target(onnx_file: str | Path, config: ExportConfig, encryption_key: str | None) -> Path:
    """Give the file that will be written.

    Raises:
        FileExistsError: it is there and config.overwrite is false.
        ValueError: it is a folder, or config and encryption exclude each other.
    """
    target = written_path(Path(onnx_file), encryption_key)
    if target.is_dir():
        raise ValueError(f"onnx_file must name a file, {target} is a folder")
    names = (target.name, *(SIDECAR_NAMES if config.serialize_nvdsinfer else ()))
    for path in map(target.with_name, names):
        if path.exists() and not config.overwrite:
            raise FileExistsError(f"{path} exists; give another onnx_file or export.overwrite=true")
    if encryption_key is not None and config.serialize_nvdsinfer:
        raise ValueError(
            "serialize_nvdsinfer writes files for DeepStream and Triton, which read no encrypted "
            "model; leave out encryption_key or serialize_nvdsinfer"
        )
    return target


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
        tolerance=TOLERANCES[config.precision],
    )


@dataclass(frozen=True)
class _Export:
    """One export under way: the checkpoint's model and what was made of it."""

    config: ExportConfig
    target: Path
    tell: Tell
    model: DeformableDETR
    metadata: ExportMetadata
    graph: ExportGraph  # what was traced
    network: onnx.ModelProto  # what came of it, in the precision asked for, without a plugin's body

    @classmethod
    def begin(
        cls, model: DeformableDETR, config: ExportConfig, tell: Tell, target: Path
    ) -> _Export:
        """Trace the model and lower its precision."""
        metadata = describe(model, config)
        tell("tracing the network")
        graph, draft = make_draft(model, config, metadata)
        if config.precision != "fp32":
            tell(f"lowering the precision to {config.precision}")
        network = _lowered(draft, config, metadata)
        return cls(config, target, tell, model, metadata, graph, network)

    @property
    def preprocess(self) -> PreprocessConfig:
        return PreprocessConfig(**self.metadata.preprocess)

    def compare(self) -> Comparison:
        """Compare ONNX Runtime with PyTorch.

        Raises:
            ExportError: they differ; the text names the first part that does.
        """
        config = self.config
        self.tell("comparing ONNX Runtime with PyTorch")
        images = load_images(config.check_image_dir, config.check_images, self.preprocess)
        comparison = compare(
            _exported_forward(self._runnable()),
            _pytorch_forward(self.model),
            images,
            (1, max(2, len(images))) if config.batch_size == -1 else (config.batch_size,),
            num_select=self.model.config.num_select,
            tolerance=TOLERANCES[config.precision],
            any_order=self.model.config.two_stage and config.precision != "fp32",
        )
        if comparison.problems():
            one_run = images[np.arange(max(1, config.batch_size)) % len(images)]
            place = first_divergence(self.graph, self._runnable(), one_run, comparison.tolerance)
            self.refuse([*comparison.problems(), *([f"first in {place}"] if place else [])])
        return comparison

    def score(
        self, labelled: DetectionSet, category_ids: Sequence[int] | None
    ) -> tuple[Score, ...]:
        """AP of PyTorch and of the file."""
        return score_networks(
            {
                "PyTorch": _pytorch_forward(self.model),
                self.config.precision: _exported_forward(self._runnable()),
            },
            labelled,
            self.config.score_images,
            self.preprocess,
            num_select=self.model.config.num_select,
            batch_size=max(1, self.config.batch_size),
            category_ids=category_ids,
            on_progress=self.tell,
        )

    def finished_model(self) -> onnx.ModelProto:
        """Add what stands around the compared network: post-processing, and the plugin's body."""
        config = self.config
        finished = _copy(self.network)
        if config.postprocess:
            append_postprocess(finished, config.num_select or self.model.config.num_select)
        if not config.on_cpu and config.embed_fallback:
            embed_fallback(finished)
        return finished

    def write(
        self, finished: onnx.ModelProto, certificate: Certificate, encryption_key: str | None
    ) -> None:
        """Write the file and all that stands beside it, or nothing."""
        contents: dict[Path, Content] = {
            self.target: locked(finished.SerializeToString(), encryption_key),
            certificate_path(self.target): certificate.to_json(),
        }
        if self.config.serialize_nvdsinfer:
            num_queries, _ = self.graph.output_shapes()[0]
            contents |= sidecars(self.target, self.config, self.metadata, num_queries)
        write_all(contents)

    def refuse(self, problems: Sequence[str]) -> NoReturn:
        """End the export with an error that says why there is no file."""
        raise ExportError(f"{self.target} was not written: {'; '.join(problems)}")

    def _runnable(self) -> onnx.ModelProto:
        """The network as ONNX Runtime runs it: with the body of its plugin nodes."""
        if self.config.on_cpu:
            return self.network
        runnable = _copy(self.network)
        embed_fallback(runnable)
        return runnable


def _check_classes(labelled: DetectionSet, model: DeformableDETR) -> None:
    if labelled.num_classes > model.config.num_classes:
        raise ValueError(
            f"the labelled images have category ids up to {labelled.num_classes - 1}, the "
            f"checkpoint num_classes {model.config.num_classes}; give it its own images to score "
            "on, or none"
        )


def _lowered(
    draft: onnx.ModelProto, config: ExportConfig, metadata: ExportMetadata
) -> onnx.ModelProto:
    if config.precision == "fp16":
        return to_fp16(draft)
    if config.precision == "int8_qdq":
        preprocess = PreprocessConfig(**metadata.preprocess)
        images = load_images(config.calibration_image_dir, config.calibration_images, preprocess)
        return to_int8(draft, images)
    return draft


def _exported_forward(model: onnx.ModelProto) -> Forward:
    session = open_session(model.SerializeToString(), "the export", ["CPUExecutionProvider"])

    def run(images: FloatArray) -> tuple[FloatArray, FloatArray]:
        logits, boxes = session.run(list(RAW_OUTPUTS), {"inputs": images})
        return logits, boxes

    return run


def _pytorch_forward(model: DeformableDETR) -> Forward:
    @torch.no_grad()
    def run(images: FloatArray) -> tuple[FloatArray, FloatArray]:
        outputs = model(torch.from_numpy(images))
        return outputs["pred_logits"].numpy(), outputs["pred_boxes"].numpy()

    return run


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _ignore(_step: str) -> None:
    """Stand in for a listener."""
