"""What parts of a network tell an exporter: their own form in operators that every opset has.

An exporter replaces each module that has an `export_form` by what that gives, and traces all others
as they stand. The stock parts need one for their attentions; a part of one's own needs one where it
holds an `MSDeformAttn`, or where it computes what the exporter cannot write.
"""

from __future__ import annotations

from typing import Protocol

from torch import nn

from ddetr_ops import MSDeformAttn

__all__ = ["ExportForms", "HasExportForm"]


class ExportForms(Protocol):
    """What an exporter offers instead of attentions; weights are taken over."""

    def deformable_attention(self, attention: MSDeformAttn) -> nn.Module:
        """Give a module of the same inputs, without padding, and the same output (B, Q, C)."""
        ...

    def self_attention(self, attention: nn.MultiheadAttention) -> nn.Module:
        """Give a module for query, key and value (B, Q, C) of a batch-first attention.

        It knows no masks, which evaluation does not have, and gives no weights.
        """
        ...


class HasExportForm(Protocol):
    """A module that says its plain form."""

    def export_form(self, forms: ExportForms) -> nn.Module:
        """Give the module to trace instead: often this one, changed in place.

        The network is a copy for this export, in eval mode and without gradients.
        """
        ...
