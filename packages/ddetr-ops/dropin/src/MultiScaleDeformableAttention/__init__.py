"""The two functions of the original's compiled extension, from ddetr-ops."""  # noqa: N999

from ddetr_ops.dropin.original import ms_deform_attn_backward, ms_deform_attn_forward

__all__ = ["ms_deform_attn_backward", "ms_deform_attn_forward"]
