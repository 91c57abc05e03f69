"""Whether the optimiser's state in a checkpoint fits the optimiser of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

# By group and parameter: the shapes of the running means that the optimiser keeps for it.
StateShapes: TypeAlias = list[list[list[torch.Size]]]
_ADVICE = "take another checkpoint, or pass it as train.pretrained_model_path"


def state_shapes(checkpoint: Mapping[str, Any], path: Path) -> StateShapes:
    """Read the shapes of a training's optimiser state; the values are let go.

    Raises:
        ValueError: it is not laid out as PyTorch does, or has a number that is not finite.
    """
    try:
        (saved,) = checkpoint["optimizer_states"]
        return [
            [_shapes_of(saved["state"].get(key, {}), path) for key in group["params"]]
            for group in saved["param_groups"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} has a damaged optimiser state ({error!r}): {_ADVICE}") from error


def check_state_shapes(
    shapes: StateShapes, groups: Sequence[Mapping[str, Any]], path: Path
) -> None:
    """Compare with the groups of parameters that train here.

    PyTorch would find it in the first step.

    Raises:
        ValueError: another number of groups or parameters, or a running mean of another shape.
    """
    expected = [[each.shape for each in group["params"]] for group in groups]
    counts_there, counts_here = ([len(group) for group in each] for each in (shapes, expected))
    if counts_there != counts_here:
        raise ValueError(
            f"{path} has an optimiser state for groups of {counts_there} parameters, this run "
            f"trains {counts_here}: {_ADVICE}"
        )
    for group_there, group_here in zip(shapes, expected, strict=True):
        for found, shape in zip(group_there, group_here, strict=True):
            if any(each != shape for each in found):
                raise ValueError(
                    f"{path} has an optimiser state of shape {tuple(found[0])} for a parameter of "
                    f"shape {tuple(shape)}: {_ADVICE}"
                )


def _shapes_of(state: Mapping[str, Any], path: Path) -> list[torch.Size]:
    tensors = [value for value in state.values() if isinstance(value, Tensor)]
    if not all(torch.isfinite(each).all() for each in tensors):
        raise ValueError(f"{path} has NaN or infinite values in its optimiser state: {_ADVICE}")
    return [each.shape for each in tensors if each.ndim]  # the count of steps has none
