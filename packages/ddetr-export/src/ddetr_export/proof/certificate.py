"""The certificate of an export: what was compared and checked, with which versions."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto

from ddetr_data.files import open_regular
from ddetr_export.__about__ import __version__
from ddetr_export.onnx import (
    DETECTION_OUTPUTS,
    RAW_OUTPUTS,
    RUNTIME_NAMES,
    beside,
    loading_problem,
    operator_problems,
    plugin_nodes,
    plugin_problems,
    sizes_of,
    standard_opset,
)
from ddetr_export.proof.comparison import Comparison
from ddetr_export.proof.precision_scores import Score

if TYPE_CHECKING:
    from ddetr_data.detection import Runtime

_LIBRARIES = ("torch", "onnx", "numpy", "ddetr-model")  # and the runtimes


@dataclass(frozen=True)
class Certificate:
    """All that is known about one exported file."""

    checks: dict[str, tuple[str, ...]]  # the problems that each found, by its name
    comparisons: tuple[Comparison, ...]  # in ONNX Runtime, and in others that were asked for
    facts: dict[str, Any]  # hashes, versions, names and types; JSON values
    scores: tuple[Score, ...] = ()  # on labelled images, where there were any

    @property
    def problems(self) -> list[str]:
        """Every problem, with the name of its check."""
        return [f"{name}: {each}" for name, found in self.checks.items() for each in found]

    def to_json(self) -> bytes:
        """Give the content of the certificate's file."""
        first, *others = (asdict(each) for each in self.comparisons)
        content = {
            "passed": not self.problems,
            "comparison": first,
            **{f"comparison_in_{each['runtime'].lower()}": each for each in others},
            "scores": [asdict(each) for each in self.scores],
            "checks": [
                {"name": name, "passed": not problems, "problems": list(problems)}
                for name, problems in self.checks.items()
            ],
            **self.facts,
        }
        return (json.dumps(content, indent=2) + "\n").encode()


def certificate_path(onnx_file: Path) -> Path:
    """Give the path of a file's certificate: model.onnx(.enc) has model.certificate.json."""
    return beside(onnx_file, ".certificate.json")


def certify(
    model: onnx.ModelProto,
    checkpoint: Path,
    comparisons: Sequence[Comparison],
    opset: int,
    scores: Sequence[Score] = (),
) -> Certificate:
    """Check a finished model and collect the facts about it.

    Args:
        model: As it is to be written.
        checkpoint: What it was exported from.
        comparisons: With PyTorch, that in ONNX Runtime first.
        opset: The one that was asked for.
        scores: On labelled images.
    """
    found = standard_opset(model)
    used = {each.runtime for each in comparisons}
    runtimes = [runtime for runtime, name in RUNTIME_NAMES.items() if name in used]
    checks = {
        "comparison with PyTorch": tuple(it for each in comparisons for it in each.problems()),
        "opset": () if found == opset else (f"asked for {opset}, the file has {found}",),
        "inputs and outputs": tuple(_signature_problems(model)),
        "operators and sizes that TensorRT takes": tuple(operator_problems(model)),
        "onnx.checker": _checker_problems(model),
        **{f"loads in {RUNTIME_NAMES[each]}": _loading_problems(model, each) for each in runtimes},
    }
    if any(plugin_nodes(model)):
        checks["contract of the TensorRT plugin"] = tuple(plugin_problems(model))
    facts = {
        "onnx_sha256": hashlib.sha256(model.SerializeToString()).hexdigest(),
        "checkpoint_sha256": _sha256(checkpoint) if checkpoint.is_file() else None,
        "opset": found,
        "nodes": len(model.graph.node),
        "inputs": [_signature(each) for each in model.graph.input],
        "outputs": [_signature(each) for each in model.graph.output],
        "versions": {
            "ddetr-export": __version__,
            **{name: importlib.metadata.version(name) for name in (*_LIBRARIES, *runtimes)},
        },
    }
    return Certificate(checks, tuple(comparisons), facts, tuple(scores))


def _signature_problems(model: onnx.ModelProto) -> Iterator[str]:
    """Yield what is wrong with names, types and batches of inputs and outputs."""
    inputs = {each.name: each for each in model.graph.input}
    outputs = {each.name: each for each in model.graph.output}
    if tuple(outputs) not in (RAW_OUTPUTS, DETECTION_OUTPUTS):
        yield f"outputs are named {', '.join(outputs)}"
    if tuple(inputs) != (("inputs", "target_sizes") if "boxes" in outputs else ("inputs",)):
        yield f"inputs are named {', '.join(inputs)}"
    batches = set()
    for value in (*inputs.values(), *outputs.values()):
        kind = value.type.tensor_type.elem_type
        if kind != (TensorProto.INT32 if value.name == "labels" else TensorProto.FLOAT):
            yield f"{value.name} has the type {TensorProto.DataType.Name(kind)}"
        batches.add(sizes_of(value)[0])
    if len(batches) > 1:
        yield f"inputs and outputs have several batches: {batches}"


def _loading_problems(model: onnx.ModelProto, runtime: Runtime) -> tuple[str, ...]:
    """Give a runtime's refusal of the finished file; a plugin without a body is not tried."""
    if any(plugin_nodes(model)) and not model.functions:
        return ()
    problem = loading_problem(model, "the file", runtime)
    return () if problem is None else (problem,)


def _checker_problems(model: onnx.ModelProto) -> tuple[str, ...]:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return (str(error).strip().splitlines()[0],)
    return ()


def _signature(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
    return {"name": value.name, "dtype": kind, "shape": sizes_of(value)}


def _sha256(path: Path) -> str:
    with open_regular(path) as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
