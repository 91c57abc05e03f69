"""Other projects' op modules and models on ddetr-ops: equal outputs and gradients.

    python -m proofs.dropin [--slice]

The files of five projects (proofs/peer_files.py says where they lie) are imported unchanged, their
compiled extension served by ddetr-ops. Their autograd function runs against the function in plain
PyTorch in the same file, their layer against itself with that function in its place, against itself
patched, and against the layer that ddetr_ops.dropin has under its name. A project whose files are
not there is left out, and the record says so. Detectors of transformers run against themselves
patched; the slice does that with one of them, and needs no files.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from proofs.peer_files import PEERS, LoadedPeer, load_peer
from proofs.record import Proof, run_proof
from proofs.small_detectors import DETECTORS, IMAGE_HW
from torch import Tensor, nn
from torch.autograd import gradcheck

from ddetr_ops import dropin, patch

# Relative to the largest number, through a whole detector: most are a thousand times nearer.
NEAR = {torch.float32: 1e-5, torch.float64: 1e-10}
LEAST = 1e-6  # of the largest number of all tensors
SHAPES = ((6, 4), (3, 2))
CASES = {  # images, queries, heads, channels a head, points; the first is the original's own test
    "small": (1, 2, 2, 2, 2),
    "several images": (3, 7, 4, 8, 4),
    "odd channels": (2, 5, 3, 71, 3),
}
STEP = 2  # images of a launch; divides neither 1 nor 3
CHECKED_CHANNELS = (30, 32, 64, 71, 1025, 2048, 3096)  # as the original's own test
MOST_EXACT = 71  # of more, gradcheck takes random directions instead of the whole Jacobian
CHANNELS, LEVELS, HEADS, POINTS = 32, 2, 4, 3  # of the layers


def prove(proof: Proof) -> None:
    """Run every project whose files are there, and the detectors."""
    torch.manual_seed(0)
    for name in () if proof.is_slice else PEERS:
        missing = PEERS[name].missing()
        if missing:
            proof.tried.append(f"{name}: left out, {missing[0]} is not there")
            proof.figures[name] = "left out"
            continue
        proof.tried.append(f"{name}: its function, its layer, patched, and ours under its name")
        proof.figures[name] = PEERS[name].blobs()
        prove_project(proof, name, load_peer(name))
    for name in ("DeformableDetr",) if proof.is_slice else DETECTORS:
        prove_detector(proof, name)


def prove_project(proof: Proof, name: str, peer: LoadedPeer) -> None:
    """Compare its function and its layer in both dtypes, and check the derivative."""
    shapes, starts = levels()

    def apply(value: Tensor, *points: Tensor) -> Tensor:
        output: Tensor = peer.function.apply(value, shapes, starts, *points, STEP)
        return output

    def apply_plain(value: Tensor, *points: Tensor) -> Tensor:
        output: Tensor = peer.plain(value, shapes, *points)
        return output

    for dtype, (case, sizes) in itertools.product(NEAR, CASES.items()):
        arguments = make_arguments(*sizes, dtype=dtype)
        found, plain = results(apply, arguments), results(apply_plain, arguments)
        compare(proof, f"{name}/function/{case}", found, plain, dtype)
    for channels in CHECKED_CHANNELS:
        arguments = make_arguments(1, 2, 2, channels, 2, dtype=torch.float64)
        leaves = [each.requires_grad_() for each in arguments]
        holds = gradcheck(apply, leaves, raise_exception=False, fast_mode=channels > MOST_EXACT)
        proof.require(holds, f"{name}/gradcheck/{channels}", "the derivative is not the output's")
    for dtype in NEAR:
        for case, call in calls_of(name, dtype):
            prove_layer(proof, f"{name}/layer/{case}", name, peer, call, dtype)


def prove_layer(
    proof: Proof,
    case: str,
    name: str,
    peer: LoadedPeer,
    call: Callable[[nn.Module], Tensor],
    dtype: torch.dtype,
) -> None:
    """Run a layer with its plain function, as it is, patched, and ours with its weights."""
    layer = randomised(make_layer(name, peer.layer)).to(dtype).eval()
    expected = results_of_layer(layer, call, *plainly(peer))
    compare(proof, f"{case}/as it is", results_of_layer(layer, call), expected, dtype)
    ours = make_layer(name, getattr(OURS[name], peer.layer.__name__)).to(dtype).eval()
    missing, unexpected = ours.load_state_dict(layer.state_dict(), strict=False)
    proof.require(not missing and not unexpected, f"{case}/keys", f"{missing} {unexpected}")
    compare(proof, f"{case}/ours", results_of_layer(ours, call), expected, dtype)
    report = patch(layer)
    proof.require(len(report.replaced) == 1, f"{case}/patch", str(report))
    compare(proof, f"{case}/patched", results_of_layer(layer, call), expected, dtype)
    report.undo()


OURS = {
    "deformable_detr": dropin.original,
    "dino": dropin.original,
    "mask2former": dropin.original,
    "groundingdino": dropin.groundingdino,
    "mmcv": dropin.mmcv,
}


def make_layer(name: str, layer: type[nn.Module]) -> nn.Module:
    """Build a project's layer of few channels."""
    if OURS[name] is dropin.original:
        return layer(CHANNELS, LEVELS, HEADS, POINTS)
    return layer(CHANNELS, HEADS, LEVELS, POINTS)


def calls_of(name: str, dtype: torch.dtype) -> Iterator[tuple[str, Callable[[nn.Module], Tensor]]]:
    """Yield what layers are called with: points or boxes as references, with and without a mask."""
    shapes, starts = levels()
    query, pixels = (torch.randn(2, size, CHANNELS, dtype=dtype) for size in (5, 30))
    turned = query.transpose(0, 1)
    for coordinates, is_masked in itertools.product((2, 4), (False, True)):
        references = torch.rand(2, 5, LEVELS, coordinates, dtype=dtype)
        mask = torch.rand(2, 30) < 0.3 if is_masked else None
        case = f"{coordinates} coordinates{', mask' if is_masked else ''}"
        if OURS[name] is dropin.original:
            rest = (references, pixels, shapes, starts, mask)
            yield case, partial(_call, query, *rest)
            continue
        options = {
            "value": pixels.transpose(0, 1),
            "query_pos": torch.randn(5, 2, CHANNELS, dtype=dtype),
            "key_padding_mask": mask,
            "reference_points": references,
            "spatial_shapes": shapes,
            "level_start_index": starts,
        }
        yield case, partial(_call, turned, **options)


def _call(*arguments: Any, **options: Any) -> Tensor:
    """Call the layer, which comes last."""
    *inputs, layer = arguments
    output: Tensor = layer(*inputs, **options)
    return output


def plainly(peer: LoadedPeer) -> tuple[LoadedPeer, Any]:
    """What to put in the place of a project's autograd function: its own plain PyTorch."""

    def apply(value: Tensor, shapes: Tensor, _starts: Tensor, *rest: Any) -> Tensor:
        output: Tensor = peer.plain(value, shapes, *rest[:2])
        return output

    return peer, SimpleNamespace(apply=apply)


def results_of_layer(
    layer: nn.Module,
    call: Callable[[nn.Module], Tensor],
    peer: LoadedPeer | None = None,
    function: Any = None,
) -> list[Tensor]:
    """Output and gradients of the parameters, with another function in the layer's module."""
    layer.zero_grad()
    name = peer.function.__name__ if peer else ""
    if peer:
        setattr(peer.module, name, function)
    try:
        output = call(layer)
        torch.autograd.backward(output.square().sum())
    finally:
        if peer:
            setattr(peer.module, name, peer.function)
    gradients = [parameter.grad for parameter in layer.parameters()]
    return [output.detach(), *(each.clone() for each in gradients if each is not None)]


def prove_detector(proof: Proof, name: str) -> None:
    """Compare a detector's outputs and gradients before and after it is patched."""
    proof.tried.append(f"transformers' {name}, patched and as it is")
    model = off_the_pixels(DETECTORS[name]().double().eval())
    # Two, since BatchNorm2d of PyTorch 2.15 derives one image wrongly on the CPU where the gradient
    # that reaches it lies channels last, as that of grid_sample does.
    images = torch.randn(2, 3, *IMAGE_HW, dtype=torch.float64)
    expected = results_of_model(model, images)
    report = patch(model)
    proof.figures[f"transformers/{name}"] = f"{len(report.replaced)} layers"
    proof.require(bool(report.replaced) and not report.left, f"{name}/patch", str(report))
    compare(proof, f"{name}/patched", results_of_model(model, images), expected, torch.float64)
    report.undo()
    again = results_of_model(model, images)
    proof.require(all(map(torch.equal, again, expected)), f"{name}/undo", "other numbers")


def off_the_pixels(model: nn.Module) -> nn.Module:
    """Move the points that layers start with: at a pixel's centre there are two derivatives."""
    for name, parameter in model.named_parameters():
        if "sampling_offsets" in name:
            nn.init.normal_(parameter, std=0.5)
    return model


def results_of_model(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Tensors of the output, and the gradients of all parameters."""
    model.zero_grad()
    outputs = [each for each in model(images).to_tuple() if isinstance(each, Tensor)]
    losses = [each.square().mean() for each in outputs if each.requires_grad]
    torch.autograd.backward(torch.stack(losses).sum())
    gradients = [each.grad.clone() for each in model.parameters() if each.grad is not None]
    return [*(each.detach() for each in outputs), *gradients]


def compare(
    proof: Proof, case: str, found: Sequence[Tensor], expected: Sequence[Tensor], dtype: torch.dtype
) -> None:
    """Count the case as passed where all numbers agree to rounding."""
    kind = str(dtype).removeprefix("torch.")
    if [each.shape for each in found] != [each.shape for each in expected]:
        proof.failed(f"{case}/{kind}", "other shapes")
        return
    error = largest_error(found, expected)
    parts = case.split("/")
    figure = f"{parts[0]}, {parts[1]}: largest relative error, {kind}"
    proof.figures[figure] = max(proof.figures.get(figure, 0.0), float(f"{error:.1e}"))
    proof.require(error <= NEAR[dtype], f"{case}/{kind}", f"relative error {error:.1e}")


def largest_error(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest difference relative to the largest number of its tensor.

    A tensor that is zero but for rounding, as gradients in front of a norm, counts by what is the
    least of the others.
    """
    largest = [float(each.abs().max()) if each.numel() else 0.0 for each in expected]
    least = LEAST * max(largest)
    errors = [
        float((one - other).abs().max()) / max(scale, least) if other.numel() else 0.0
        for one, other, scale in zip(found, expected, largest, strict=True)
    ]
    return max(errors)


def results(function: Callable[..., Tensor], arguments: Sequence[Tensor]) -> list[Tensor]:
    """Output and gradients."""
    leaves = [each.clone().requires_grad_() for each in arguments]
    output = function(*leaves)
    return [output.detach(), *torch.autograd.grad(output.square().sum(), leaves)]


def make_arguments(
    batch: int, queries: int, heads: int, channels: int, points: int, dtype: torch.dtype
) -> list[Tensor]:
    """Value, locations and weights."""
    pixels = sum(height * width for height, width in SHAPES)
    sizes = (batch, queries, heads, len(SHAPES), points)
    weights = torch.rand(sizes, dtype=dtype) + 1e-5
    return [
        torch.randn(batch, pixels, heads, channels, dtype=dtype),
        torch.rand(*sizes, 2, dtype=dtype),
        weights / weights.sum((-1, -2), keepdim=True),
    ]


def levels() -> tuple[Tensor, Tensor]:
    """Sizes and starts of the levels."""
    shapes = torch.tensor(SHAPES)
    return shapes, shapes.prod(1).cumsum(0) - shapes.prod(1)


def randomised(layer: nn.Module) -> nn.Module:
    """Give weights that matter."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.2)
    return layer


if __name__ == "__main__":
    run_proof("dropin", "Other projects' op modules and models on ddetr-ops.", prove)
