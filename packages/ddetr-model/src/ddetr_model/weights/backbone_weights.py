"""Pretrained weights for the backbone alone, matched by name whatever stands before the name."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from ddetr_model.weights.files import CheckpointError, read_file, tensors_of
from ddetr_model.weights.gc_vit_names import from_nvlabs, is_nvlabs

__all__ = ["Coverage", "load_backbone"]

logger = logging.getLogger(__name__)

LEAST_COVERAGE = 0.9
COUNTER = ".num_batches_tracked"  # of live batch norms; no weight


class Coverage(NamedTuple):
    """How much of a backbone a file has filled."""

    loaded: int
    total: int
    missing: tuple[str, ...]


def load_backbone(body: nn.Module, path: Path) -> Coverage:
    """Fill a backbone from a file of its own library.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is no file of weights, or fits fewer than 90 % of the tensors.
    """
    weights = tensors_of(read_file(path))
    if is_nvlabs(weights):
        weights = from_nvlabs(weights)
    expected = {
        name: value for name, value in body.state_dict().items() if not name.endswith(COUNTER)
    }
    prefix = _best_prefix(expected, weights)
    fitting = {
        name: weights[prefix + name]
        for name, value in expected.items()
        if prefix + name in weights and weights[prefix + name].shape == value.shape
    }
    missing = tuple(name for name in expected if name not in fitting)
    if len(fitting) < LEAST_COVERAGE * len(expected):
        raise CheckpointError(
            f"{path} fits {len(fitting)} of the backbone's {len(expected)} tensors, fewer than "
            f"90 %; the first that does not is {missing[0]}: is it of another backbone?"
        )
    body.load_state_dict(fitting, strict=False)
    logger.info("backbone loaded=%d of=%d from=%s", len(fitting), len(expected), path)
    return Coverage(len(fitting), len(expected), missing)


def _best_prefix(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    endings = [name for name in expected if re.search(r"\.weight$", name)][:8]
    prefixes = {
        name.removesuffix(ending) for name in weights for ending in endings if name.endswith(ending)
    }
    return max(
        sorted(prefixes | {""}),
        key=lambda prefix: sum(prefix + name in weights for name in expected),
    )
