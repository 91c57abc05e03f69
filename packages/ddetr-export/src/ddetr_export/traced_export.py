"""One export under way: the traced network, its comparison with PyTorch, its file.

B images, H, W the input size, Q queries, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import onnx
import torch

from ddetr_data.coco import DetectionSet
from ddetr_data.files import Content, write_all
from ddetr_data.images import PreprocessConfig
from ddetr_export.config import ExportConfig
from ddetr_export.graph import ExportGraph, append_postprocess, make_draft
from ddetr_export.onnx import (
    RAW_OUTPUTS,
    ExportMetadata,
    embed_fallback,
    locked,
    open_session,
    seal,
    to_fp16,
    to_int8,
)
from ddetr_export.postprocessing import FloatArray
from ddetr_export.proof import (
    TOLERANCES,
    Certificate,
    Comparison,
    Forward,
    Score,
    certificate_path,
    compare,
    first_divergence,
    load_images,
    score_networks,
)
from ddetr_export.report import ExportError
from ddetr_export.sidecars import sidecars
from ddetr_model import DeformableDETR

Tell = Callable[[str], None]


@dataclass(frozen=True)
class TracedExport:
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
        cls,
        model: DeformableDETR,
        metadata: ExportMetadata,
        config: ExportConfig,
        tell: Tell,
        target: Path,
    ) -> TracedExport:
        """Trace the model and lower its precision."""
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
        """Add what stands around the compared network: post-processing, plugin's body, digest."""
        config = self.config
        finished = _copy(self.network)
        if config.postprocess:
            append_postprocess(finished, config.num_select or self.model.config.num_select)
        if not config.on_cpu and config.embed_fallback:
            embed_fallback(finished)
        return seal(finished)

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
        return outputs.pred_logits.numpy(), outputs.pred_boxes.numpy()

    return run


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
