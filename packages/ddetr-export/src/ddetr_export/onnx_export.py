"""From a checkpoint to an ONNX file that is known to compute the same."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from ddetr_data import Category, as_categories, compare_categories
from ddetr_data.coco import DetectionSet
from ddetr_data.files import model_source
from ddetr_data.images import PreprocessConfig, find_images
from ddetr_data.loading import LabelContract
from ddetr_export.config import ExportConfig
from ddetr_export.onnx import ExportMetadata, check_openvino, written_path
from ddetr_export.prepared_export import PreparedExport, Tell
from ddetr_export.proof import TOLERANCES
from ddetr_export.report import ExportReport
from ddetr_export.sidecars import SIDECAR_NAMES
from ddetr_model import DeformableDETR, load_checkpoint

logger = logging.getLogger(__name__)

LabelledSet: TypeAlias = DetectionSet | Callable[[tuple[Category, ...]], DetectionSet]


def export_onnx(
    checkpoint: str | Path,
    onnx_file: str | Path,
    config: ExportConfig,
    *,
    encryption_key: str | None = None,
    labelled: LabelledSet | None = None,
    category_ids: Sequence[int] | None = None,
    on_progress: Tell | None = None,
    network: DeformableDETR | None = None,
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
        labelled: Images to score the file and PyTorch on, config.score_images of them; or what
            reads them, called with the model's classes.
        category_ids: Classes that count in the scores; None is all.
        on_progress: Called with a few words as each step begins.
        network: What to fill, for a checkpoint with parts from outside.

    Raises:
        FileNotFoundError: there is no checkpoint, or no image where config says.
        FileExistsError: the file is there and config.overwrite is false.
        ValueError: checkpoint or config cannot be used, or the key does not open the checkpoint.
        ExportError: ONNX Runtime, or OpenVINO, and PyTorch differ, or TensorRT would refuse the
            file.
    """
    return prepare_export(
        checkpoint,
        onnx_file,
        config,
        encryption_key=encryption_key,
        labelled=labelled,
        category_ids=category_ids,
        on_progress=on_progress,
        network=network,
    ).run()


def prepare_export(
    checkpoint: str | Path,
    onnx_file: str | Path,
    config: ExportConfig,
    *,
    encryption_key: str | None = None,
    labelled: LabelledSet | None = None,
    category_ids: Sequence[int] | None = None,
    on_progress: Tell | None = None,
    network: DeformableDETR | None = None,
) -> PreparedExport:
    """Read the checkpoint and check all that can refuse the export, before its long work.

    The arguments are those of export_onnx.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: as export_onnx.
    """
    started = time.perf_counter()
    target = checked_target(onnx_file, config, encryption_key)
    if config.check_openvino:
        check_openvino("check_openvino")
    tell = on_progress or (lambda _step: None)
    for folder in (config.check_image_dir, config.calibration_image_dir):
        if folder is not None:
            find_images(folder)
    tell("reading the checkpoint")
    with model_source(Path(checkpoint), encryption_key) as source:
        model = load_checkpoint(source, network=network)
    if labelled is not None:
        labelled = _fitting(labelled, model)
    metadata = describe(model, config)
    return PreparedExport(
        Path(checkpoint),
        target,
        config,
        tell,
        model,
        metadata,
        encryption_key,
        labelled if config.score_images else None,
        category_ids,
        started,
    )


def checked_target(onnx_file: str | Path, config: ExportConfig, encryption_key: str | None) -> Path:
    """Give the path that will be written, once nothing stands against it.

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
    """Collect the metadata of the file.

    A checkpoint without preprocessing gets the usual ImageNet normalisation; the size of the
    image is the exported one, whatever it was in training.
    """
    if model.metadata is None:
        raise ValueError("the model has no metadata; load it with ddetr_model.load_checkpoint")
    known = PreprocessConfig.of_file(model.metadata.preprocess, "the checkpoint")
    preprocess = known.fixed_to(config.input_height, config.input_width)
    return ExportMetadata(
        categories=as_categories(model.metadata.categories),
        preprocess=preprocess.model_dump(mode="json"),
        model=model.config.model_dump(mode="json"),
        tolerance=TOLERANCES[config.precision],
    )


def _fitting(labelled: LabelledSet, model: DeformableDETR) -> DetectionSet:
    """Read the labels, if they are not yet, and compare their classes with the model's."""
    known = as_categories(model.metadata.categories if model.metadata else ())
    if not isinstance(labelled, DetectionSet):
        labelled = labelled(known)
    if labelled.num_classes > model.config.num_classes:
        raise ValueError(
            f"the labelled images have category ids up to {labelled.num_classes - 1}, the "
            f"checkpoint num_classes {model.config.num_classes}; give it its own images to score "
            "on, or none"
        )
    contract = LabelContract(classes=known, owner="the checkpoint", name="the labelled images")
    contract.refuse_conflicts(labelled.categories)
    difference = compare_categories(
        known,
        labelled.categories,
        first_name=contract.owner,
        second_name=contract.name,
        second_may_lack=True,
    )
    if difference:
        logger.warning("%s: what is labelled so counts as missed", difference)
    return labelled
