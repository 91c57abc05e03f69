"""Batch norms for small batches: they keep their statistics, or take those of all processes."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

__all__ = ["freeze_batch_norms", "synchronize_batch_norms", "thaw_batch_norms"]


def freeze_batch_norms(module: nn.Module) -> nn.Module:
    """Replace every batch norm of a module by one that keeps its statistics and its weights.

    Returns:
        The module; or what replaces it, where it is a batch norm itself.
    """
    if isinstance(module, nn.BatchNorm2d):
        frozen = _FrozenNormAct(module) if hasattr(module, "act") else _frozen_norm(module)
        frozen.load_state_dict(module.state_dict())
        return frozen
    for name, child in module.named_children():
        setattr(module, name, freeze_batch_norms(child))
    return module


def thaw_batch_norms(module: nn.Module) -> None:
    """Replace every frozen batch norm below module by a live one of the same answer in evaluation.

    Exporters fold a live one into its convolution; a frozen one they spell out.
    """
    for name, child in module.named_children():
        if not isinstance(child, FrozenBatchNorm2d):
            thaw_batch_norms(child)
            continue
        live = nn.BatchNorm2d(len(child.weight), eps=child.eps)
        live.load_state_dict(child.state_dict(), strict=False)  # but for the counter of steps
        live.requires_grad_(False).eval()
        is_whole = not isinstance(child, _FrozenNormAct)
        setattr(module, name, live if is_whole else nn.Sequential(live, child.drop, child.act))


def synchronize_batch_norms(network: nn.Module) -> int:
    """Replace every live batch norm below network by one that uses the batches of all processes.

    Names, weights and statistics stay, and so do frozen batch norms. In training the new ones run
    on GPUs alone where there are several processes.

    Returns:
        How many were replaced.
    """
    live = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
    if any(hasattr(norm, "act") for norm in live):  # timm's, which hold their activation
        from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]

        convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    else:
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return len(live)


class _FrozenNormAct(FrozenBatchNorm2d):  # type: ignore[misc]
    """A frozen batch norm with the activation that timm keeps inside its batch norms."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps)
        self.drop, self.act = norm.drop, norm.act

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        return self.act(self.drop(super().forward(x)))  # type: ignore[operator,no-any-return]


def _frozen_norm(norm: nn.BatchNorm2d) -> FrozenBatchNorm2d:
    return FrozenBatchNorm2d(norm.num_features, norm.eps)
