"""What runs here and why, and whether it gives the reference's numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ddetr_ops.__about__ import __version__
from ddetr_ops._direct import MISSING
from ddetr_ops._native import current_instruction_set, has_threads, problem_on
from ddetr_ops._torch_private import TRANSFORM_KEY
from ddetr_ops.functional import Backend, ms_deform_attn

# float32 sums of 16 weighted samples and of all gradients that meet in one pixel.
_TOLERANCE = 1e-4
_LEVELS = ((32, 40), (16, 20), (8, 10), (4, 5))


@dataclass(frozen=True)
class SelfTest:
    """One device's native kernels beside the reference; errors relative to the largest number."""

    device: str
    forward_error: float
    backward_error: float
    native_ms: float  # forward and backward
    reference_ms: float

    @property
    def passed(self) -> bool:
        """Whether both errors are within float32's reach."""
        return max(self.forward_error, self.backward_error) < _TOLERANCE

    def __str__(self) -> str:
        verdict = "agrees with" if self.passed else "DISAGREES with"
        return (
            f"{self.device}: {verdict} the reference "
            f"(forward {self.forward_error:.1e}, backward {self.backward_error:.1e}); "
            f"{self.native_ms:.1f} ms, reference {self.reference_ms:.1f} ms"
        )


@dataclass(frozen=True)
class Diagnosis:
    """The state of this installation; str() is a report of a few lines."""

    versions: str
    instruction_set: str
    problems: dict[str, str]  # device type -> why its native kernels do not run, or ""
    detours: tuple[str, ...]  # what works less well, in sentences, for what this torch lacks
    self_tests: tuple[SelfTest, ...]

    @property
    def healthy(self) -> bool:
        """Whether every native kernel that runs gives the reference's numbers."""
        return all(test.passed for test in self.self_tests)

    def __str__(self) -> str:
        lines = [self.versions]
        for device, problem in self.problems.items():
            found = f"native, {self.instruction_set}" if device == "cpu" else "native"
            lines.append(f"{device}: {f'reference, for {problem}' if problem else found}")
        return "\n".join([*lines, *self.detours, *map(str, self.self_tests)])


def doctor(*, self_test: bool = True) -> Diagnosis:
    """Find out which kernels run and test them forward and backward; takes about a second.

    Args:
        self_test: False leaves the tests out, and takes no time.
    """
    problems = {device: problem_on(device) for device in ("cpu", "cuda")}
    working = [device for device, problem in problems.items() if not problem]
    return Diagnosis(
        versions=f"ddetr-ops {__version__}, torch {torch.__version__}",
        instruction_set=current_instruction_set(),
        problems=problems,
        detours=tuple(_detours()) if working else (),
        self_tests=tuple(_test_device(device) for device in working if self_test),
    )


def _detours() -> Iterator[str]:
    absent = f"torch {torch.__version__} has no"
    if MISSING:
        yield (
            f"{absent} {', '.join(MISSING)}: calls on the CPU go through its dispatcher, with the "
            "same numbers, some microseconds slower"
        )
    if not has_threads():
        yield (
            "no OpenMP runtime is loaded whose threads the kernels could use: on the CPU they run "
            "on one"
        )
    if not TRANSFORM_KEY:
        yield f"{absent} key for transforms: torch.func (grad, vmap) does not take the operators"


def _test_device(device: str) -> SelfTest:
    arguments = [tensor.to(device) for tensor in _random_arguments()]
    _run(arguments, "native")  # touch the memory once before the clock runs
    expected, expected_grads, reference_ms = _run(arguments, "reference")
    output, grads, native_ms = _run(arguments, "native")
    pairs = zip(grads, expected_grads, strict=True)
    return SelfTest(
        device=device,
        forward_error=_relative_error(output, expected),
        backward_error=max(_relative_error(grad, wanted) for grad, wanted in pairs),
        native_ms=native_ms,
        reference_ms=reference_ms,
    )


def _random_arguments() -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    shapes = torch.tensor(_LEVELS)
    areas = shapes.prod(1)
    pixels = int(areas.sum())
    point_sizes = (1, pixels, 8, len(_LEVELS), 4)
    value = torch.randn(1, pixels, 8, 32, generator=random)
    locations = torch.rand(*point_sizes, 2, generator=random)
    weights = torch.rand(*point_sizes, generator=random) / 16
    return [value, shapes, areas.cumsum(0) - areas, locations, weights]


def _run(arguments: list[Tensor], backend: Backend) -> tuple[Tensor, tuple[Tensor, ...], float]:
    leaves = [t.detach().requires_grad_(t.is_floating_point()) for t in arguments]
    value, shapes, starts, locations, weights = leaves
    start = time.perf_counter()
    output = ms_deform_attn(value, shapes, starts, locations, weights, backend=backend)
    grads = torch.autograd.grad(output.square().sum(), [value, locations, weights])
    if value.is_cuda:
        torch.cuda.synchronize(value.device)
    return output.detach(), grads, (time.perf_counter() - start) * 1e3


def _relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())
