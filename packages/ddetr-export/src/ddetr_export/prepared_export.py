"""One export whose arguments are checked: trace, compare with PyTorch, score and write.

B images, H, W the input size, Q queries, C classes.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import onnx
import torch

from ddetr_data.coco import DetectionSet
from ddetr_data.detection import Runtime, raised_num_select
from ddetr_data.files import Content, write_all
from ddetr_data.images import PreprocessConfig
from ddetr_export.config import ExportConfig
from ddetr_export.graph import ExportGraph, append_postprocess, make_draft
from ddetr_export.onnx import (
    RAW_OUTPUTS,
    RUNTIME_NAMES,
    ExportMetadata,
    embed_fallback,
    locked,
    open_on_cpu,
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
    ForwardDetector,
    Score,
    certificate_path,
    certify,
    compare,
    first_divergence,
    load_images,
    score_networks,
)
from ddetr_export.report import ExportError, ExportReport
from ddetr_export.sidecars import sidecars
from ddetr_model import DeformableDETR

Tell = Callable[[str], None]


@dataclass(frozen=True)
class PreparedExport:
    """An export whose arguments are checked, ready to run."""

    checkpoint: Path
    target: Path
    config: ExportConfig
    tell: Tell
    model: DeformableDETR
    metadata: ExportMetadata
    encryption_key: str | None
    labelled: DetectionSet | None  # to score on
    category_ids: Sequence[int] | None
    started: float  # by time.perf_counter

    def run(self) -> ExportReport:
        """Trace, compare and write; as export_onnx once its arguments are right."""
        config = self.config
        self.tell("tracing the network")
        graph, draft = make_draft(self.model, config, self.metadata)
        network = self._lowered(draft)
        # What is compared is the network alone, with a body for every plugin node: ONNX Runtime has
        # no plugin, and post-processing would hide the logits.
        runnable = network if config.on_cpu else _with_plugin_bodies(network)
        comparisons = self._compare(graph, runnable)
        scores = self._score(runnable)
        finished = self._finished(network)  # sealed last: its digest is of all that is in it
        opset = config.opset_version
        certificate = certify(finished, self.checkpoint, comparisons, opset, scores)
        if certificate.problems:
            self._refuse(certificate.problems)
        self._write(finished, certificate, graph)
        return ExportReport(
            path=self.target,
            opset=opset,
            nodes=certificate.facts["nodes"],
            megabytes=self.target.stat().st_size / 1e6,
            max_error_logits=max(each.max_error_logits for each in comparisons),
            max_error_boxes=max(each.max_error_boxes for each in comparisons),
            seconds=time.perf_counter() - self.started,
            scores=scores,
        )

    @property
    def _preprocess(self) -> PreprocessConfig:
        return PreprocessConfig(**self.metadata.preprocess)

    def _lowered(self, draft: onnx.ModelProto) -> onnx.ModelProto:
        """Bring what was traced to the precision asked for; still without a plugin's body."""
        config = self.config
        if config.precision == "fp32":
            return draft
        self.tell(f"lowering the precision to {config.precision}")
        if config.precision == "fp16":
            return to_fp16(draft)
        folder, count = config.calibration_image_dir, config.calibration_images
        return to_int8(draft, load_images(folder, count, self._preprocess))

    def _compare(self, graph: ExportGraph, runnable: onnx.ModelProto) -> list[Comparison]:
        """Compare ONNX Runtime, and OpenVINO where it is asked for, with PyTorch.

        Raises:
            ExportError: they differ; the text names the first part that does in ONNX Runtime.
        """
        config = self.config
        images = load_images(config.check_image_dir, config.check_images, self._preprocess)
        comparisons = [self._compared_in("onnxruntime", runnable, images)]
        if problems := comparisons[0].problems():
            one_run = images[np.arange(max(1, config.batch_size)) % len(images)]
            layer = first_divergence(graph, runnable, one_run, comparisons[0].tolerance)
            self._refuse([*problems, *([f"first in {layer}"] if layer else [])])
        if config.check_openvino:
            comparisons.append(self._compared_in("openvino", runnable, images))
            if problems := comparisons[1].problems():
                self._refuse(problems)
        return comparisons

    def _compared_in(
        self,
        runtime: Runtime,
        runnable: onnx.ModelProto,
        images: FloatArray,  # (N, 3, H, W)
    ) -> Comparison:
        config, model = self.config, self.model.config
        self.tell(f"comparing {RUNTIME_NAMES[runtime]} with PyTorch")
        comparison = compare(
            _exported_forward(runnable, runtime),
            _pytorch_forward(self.model),
            images,
            (1, max(2, len(images))) if config.batch_size == -1 else (config.batch_size,),
            num_select=model.num_select,
            tolerance=TOLERANCES[config.precision],
            any_order=model.two_stage and config.precision != "fp32",
            class_ids=self.metadata.class_ids,
        )
        return replace(comparison, runtime=RUNTIME_NAMES[runtime])

    def _score(self, runnable: onnx.ModelProto) -> tuple[Score, ...]:
        """AP of PyTorch and of the file, where there are labelled images."""
        if self.labelled is None:
            return ()
        networks = {
            "PyTorch": _pytorch_forward(self.model),
            self.config.precision: _exported_forward(runnable),
        }
        limit = self.config.max_detections
        num_select = raised_num_select(self.model.config.num_select, limit)
        batch_size, class_ids = max(1, self.config.batch_size), self.metadata.class_ids
        return score_networks(
            {
                name: ForwardDetector(forward, self._preprocess, num_select, batch_size, class_ids)
                for name, forward in networks.items()
            },
            self.labelled,
            self.config.score_images,
            category_ids=self.category_ids,
            max_detections=limit,
            on_progress=self.tell,
        )

    def _finished(self, network: onnx.ModelProto) -> onnx.ModelProto:
        """Copy the compared network and add post-processing, the plugin's body and the digest."""
        config = self.config
        finished = copy.deepcopy(network)
        if config.postprocess:
            num_select = config.num_select or self.model.config.num_select
            append_postprocess(finished, num_select, self.metadata.class_ids)
        if not config.on_cpu and config.embed_fallback:
            embed_fallback(finished)
        return seal(finished)

    def _write(
        self, finished: onnx.ModelProto, certificate: Certificate, graph: ExportGraph
    ) -> None:
        """Write the file and all that stands beside it, or nothing."""
        contents: dict[Path, Content] = {
            self.target: locked(finished.SerializeToString(), self.encryption_key),
            certificate_path(self.target): certificate.to_json(),
        }
        if self.config.serialize_nvdsinfer:
            num_queries, _ = graph.output_shapes()[0]
            contents |= sidecars(self.target, self.config, self.metadata, num_queries)
        write_all(contents)

    def _refuse(self, problems: Sequence[str]) -> NoReturn:
        """End the export with an error that says why there is no file."""
        raise ExportError(f"{self.target} was not written: {'; '.join(problems)}")


def _with_plugin_bodies(network: onnx.ModelProto) -> onnx.ModelProto:
    """Copy the network, with the plugin's body in it so that ONNX Runtime runs it."""
    runnable = copy.deepcopy(network)
    embed_fallback(runnable)
    return runnable


def _exported_forward(model: onnx.ModelProto, runtime: Runtime = "onnxruntime") -> Forward:
    session = open_on_cpu(model, "the export", runtime)

    def run(images: FloatArray) -> tuple[FloatArray, FloatArray]:
        logits, boxes = session.run({"inputs": images}, RAW_OUTPUTS)
        return logits, boxes

    return run


def _pytorch_forward(model: DeformableDETR) -> Forward:
    @torch.no_grad()
    def run(images: FloatArray) -> tuple[FloatArray, FloatArray]:
        outputs = model(torch.from_numpy(images))
        return outputs.pred_logits.numpy(), outputs.pred_boxes.numpy()

    return run
