"""Pretrained weights for the backbone alone, matched by name whatever stands before the name."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from ddetr_model.weights.coverage import LoadReport, compare
from ddetr_model.weights.files import CheckpointError, read_file, tensors_of
from ddetr_model.weights.gc_vit_names import from_nvlabs, is_nvlabs

__all__ = ["LEAST_COVERAGE", "load_backbone"]

logger = logging.getLogger(__name__)

LEAST_COVERAGE = 0.9


def load_backbone(body: nn.Module, path: Path) -> LoadReport:
    """Fill a backbone from a file of its own library.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is no file of weights, or fits fewer than 90 % of the tensors.
    """
    weights = tensors_of(read_file(path))
    if is_nvlabs(weights):
        weights = from_nvlabs(weights)
    prefix = _best_prefix(body.state_dict(), weights)
    found = {n.removeprefix(prefix): value for n, value in weights.items() if n.startswith(prefix)}
    report = compare(body.state_dict(), found)
    unfilled = report.missing + report.mismatched
    total = len(report.loaded) + len(unfilled)
    if len(report.loaded) < LEAST_COVERAGE * total:
        raise CheckpointError(
            f"{path} fits {len(report.loaded)} of the backbone's {total} tensors, fewer than 90 %; "
            f"the first that does not is {unfilled[0]}: is it of another backbone?"
        )
    body.load_state_dict({name: found[name] for name in report.loaded}, strict=False)
    logger.info("backbone loaded=%d of=%d from=%s", len(report.loaded), total, path)
    return report


def _best_prefix(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    endings = [name for name in expected if re.search(r"\.weight$", name)][:8]
    prefixes = {
        name.removesuffix(ending) for name in weights for ending in endings if name.endswith(ending)
    }
    return max(
        sorted(prefixes | {""}),
        key=lambda prefix: sum(prefix + name in weights for name in expected),
    )
