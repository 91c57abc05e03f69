"""Wrong calls are refused by name, in Python and again in the binding; none reaches a kernel."""

from __future__ import annotations

import pytest
import torch

from ddetr_ops import doctor, ms_deform_attn

PROBLEM = doctor(self_test=False).problems["cpu"]
native = pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM or "native")

# argument, what it becomes, error, words of the text
WRONG = [
    ("value", lambda t: t.tolist(), TypeError, "value must be a tensor"),
    ("value", lambda t: t[0], ValueError, "value must be"),
    ("value", lambda t: t.flatten(2), ValueError, "value must be"),
    ("value", lambda t: t.long(), TypeError, "value must be float32"),
    ("value", lambda t: t.to(torch.complex64), TypeError, "value must be float32"),
    ("value", lambda t: t.double(), TypeError, "float64 does not mix"),
    ("value", lambda t: t[:1], ValueError, "sampling_locations must be"),
    ("value", lambda t: t[:, :-1], ValueError, "72 pixels"),
    ("value", lambda t: torch.cat([t, t], 1), ValueError, "146 pixels"),
    ("value", lambda t: t[:, :, :1], ValueError, "sampling_locations must be"),
    ("value", lambda t: t.to_sparse(), TypeError, "value must be a dense tensor"),
    ("value", lambda t: t.to_mkldnn(), TypeError, "value must be a dense tensor"),
    ("value", lambda t: None, TypeError, "value must be a tensor"),
    ("value", lambda t: torch.tensor(1.0), ValueError, "value must be"),
    ("value", lambda t: t.to(torch.float8_e4m3fn), TypeError, "value must be float32"),
    ("value", lambda t: t[:, :0], ValueError, "0 pixels"),
    ("spatial_shapes", lambda t: None, TypeError, "3 pairs"),
    ("spatial_shapes", lambda t: 3, TypeError, "3 pairs"),
    ("spatial_shapes", lambda t: [54, 15, 4], TypeError, "3 pairs"),
    ("spatial_shapes", lambda t: ["69", "35", "22"], TypeError, "3 pairs"),
    ("spatial_shapes", lambda t: list(t), TypeError, "3 pairs .* of ints"),
    ("spatial_shapes", lambda t: [(6.5, 9.2), (3.0, 5.0), (2.0, 2.0)], TypeError, "of ints"),
    ("spatial_shapes", lambda t: [(float("nan"), 9), (3, 5), (2, 2)], TypeError, "of ints"),
    ("spatial_shapes", lambda t: [(2**70, 4), (3, 5), (2, 2)], ValueError, "spatial_shapes"),
    ("spatial_shapes", lambda t: [(2**31, 2**33), (3, 5), (2, 2)], ValueError, "spatial_shapes"),
    ("spatial_shapes", lambda t: t + 2**33, ValueError, "spatial_shapes"),
    ("spatial_shapes", lambda t: t.to("meta"), ValueError, "spatial_shapes is on meta"),
    ("spatial_shapes", lambda t: t.to_sparse(), TypeError, "spatial_shapes must be a dense"),
    ("spatial_shapes", lambda t: t.float().requires_grad_(), TypeError, "must be int64"),
    ("spatial_shapes", lambda t: (tuple(pair) for pair in t.tolist()), TypeError, "3 pairs"),
    ("spatial_shapes", lambda t: {tuple(pair) for pair in t.tolist()}, TypeError, "3 pairs"),
    (
        "spatial_shapes",
        lambda t: torch.nested.nested_tensor([*t], layout=torch.jagged),
        TypeError,
        "must be a dense",
    ),
    ("level_start_index", lambda t: t.tolist(), TypeError, "level_start_index must be a tensor"),
    ("level_start_index", lambda t: t.to("meta"), ValueError, "level_start_index is on meta"),
    ("level_start_index", lambda t: t.float(), TypeError, "level_start_index must be int64"),
    ("sampling_locations", lambda t: None, TypeError, "sampling_locations must be a tensor"),
    ("sampling_locations", lambda t: t.flatten(3, 4), ValueError, "sampling_locations must be"),
    ("sampling_locations", lambda t: t.transpose(1, 2), ValueError, "sampling_locations must be"),
    ("sampling_locations", lambda t: t.to_sparse(), TypeError, "must be a dense tensor"),
    ("attention_weights", lambda t: None, TypeError, "attention_weights must be a tensor"),
    ("attention_weights", lambda t: t.to("meta"), ValueError, "is on meta"),
    ("attention_weights", lambda t: t.to_sparse(), TypeError, "must be a dense tensor"),
    ("spatial_shapes", lambda t: t.int(), TypeError, "spatial_shapes must be int64"),
    ("spatial_shapes", lambda t: t.float(), TypeError, "spatial_shapes must be int64"),
    ("spatial_shapes", lambda t: t[:2], ValueError, "spatial_shapes must have the shape"),
    ("spatial_shapes", lambda t: t.flatten(), ValueError, "spatial_shapes must have the shape"),
    ("spatial_shapes", lambda t: -t, ValueError, "spatial_shapes"),
    ("spatial_shapes", lambda t: t * 0, ValueError, "spatial_shapes"),
    ("spatial_shapes", lambda t: t + 1, ValueError, r"73 pixels|level_start_index\[1\] must be"),
    ("spatial_shapes", lambda t: t * 10**12, ValueError, "spatial_shapes"),
    ("spatial_shapes", lambda t: t.tolist()[:2], ValueError, "3 pairs"),
    ("spatial_shapes", lambda t: [(6, 9, 1)] * 3, ValueError, "3 pairs"),
    ("level_start_index", lambda t: t.int(), TypeError, "level_start_index must be int64"),
    ("level_start_index", lambda t: t[:2], ValueError, "level_start_index must have the shape"),
    ("level_start_index", lambda t: None, ValueError, "level_start_index may be None"),
    ("level_start_index", lambda t: t + 1, ValueError, r"level_start_index\[0\] must be 0, got 1"),
    ("level_start_index", lambda t: t * 2, ValueError, r"level_start_index\[1\] must be 54"),
    ("sampling_locations", lambda t: t[0], ValueError, "sampling_locations must be"),
    ("sampling_locations", lambda t: t[..., :1], ValueError, "sampling_locations must be"),
    ("sampling_locations", lambda t: t.long(), TypeError, "sampling_locations must be float32"),
    ("sampling_locations", lambda t: t.double(), TypeError, "float64 does not mix"),
    ("sampling_locations", lambda t: t[:1], ValueError, "sampling_locations must be"),
    ("sampling_locations", lambda t: t.to("meta"), ValueError, "is on meta"),
    ("attention_weights", lambda t: t[0], ValueError, "attention_weights must be"),
    ("attention_weights", lambda t: t[:, :3], ValueError, "attention_weights must be"),
    ("attention_weights", lambda t: t[..., :2], ValueError, "attention_weights must be"),
    ("attention_weights", lambda t: t.bool(), TypeError, "attention_weights must be float32"),
    ("attention_weights", lambda t: t.double(), TypeError, "float64 does not mix"),
]


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize(("name", "spoil", "error", "words"), WRONG)
def test_a_wrong_argument_is_named(arguments, backend, name, spoil, error, words):
    """The text names the argument, whichever back-end would have run."""
    spoilt = dict(arguments.__dict__)
    spoilt[name] = spoil(spoilt[name])
    with pytest.raises(error, match=words):
        ms_deform_attn(*spoilt.values(), backend=backend)


@native
def test_starts_beside_sizes_as_ints_are_compared(arguments):
    """They are not needed there; wrong ones are not passed over."""
    tensors = dict(arguments.__dict__, spatial_shapes=arguments.spatial_shapes.tolist())
    tensors["level_start_index"] = torch.tensor([0, 1, 2])
    with pytest.raises(ValueError, match=r"level_start_index\[1\] must be 54"):
        ms_deform_attn(*tensors.values())


# What the operator itself, which checks nothing in Python, hands to the binding.
WRONG_FOR_THE_BINDING = [
    ("value", lambda t: t[0], ValueError, "value must be"),
    ("value", lambda t: t.to(torch.int8), TypeError, "value must be float32"),
    ("spatial_shapes", lambda t: t[:2], ValueError, "one entry for each of 3"),
    ("spatial_shapes", lambda t: t * torch.tensor([[1], [1], [0]]), ValueError, r"shapes\[2\]"),
    ("spatial_shapes", lambda t: t * 2**60, ValueError, "cannot hold"),
    ("spatial_shapes", lambda t: t + torch.tensor([[0], [0], [1]]), ValueError, "make 78"),
    ("spatial_shapes", lambda t: t.float(), TypeError, "spatial_shapes must be int64"),
    ("level_start_index", lambda t: t - (t == 54).long(), ValueError, r"\[1\] must be 54"),
    ("level_start_index", lambda t: t + 54, ValueError, r"\[0\] must be 0"),
    ("level_start_index", lambda t: t[:2], ValueError, "one entry for each of 3"),
    ("sampling_locations", lambda t: t[..., 0], ValueError, "sampling_locations must be"),
    ("sampling_locations", lambda t: t.bfloat16(), TypeError, "must be float32"),
    ("attention_weights", lambda t: t[..., None], ValueError, "weights must have the sizes"),
    ("attention_weights", lambda t: t.half(), TypeError, "must be float32"),
]


@native
@pytest.mark.parametrize(("name", "spoil", "error", "words"), WRONG_FOR_THE_BINDING)
def test_the_binding_checks_what_an_address_cannot_tell(arguments, name, spoil, error, words):
    """Bad sizes, dtypes and levels stop before any address is followed."""
    spoilt = dict(arguments.__dict__)
    spoilt[name] = spoil(spoilt[name])
    with pytest.raises(error, match=words):
        torch.ops.ddetr_ops.ms_deform_attn(*spoilt.values())


@native
def test_the_binding_checks_gradients_too(arguments):
    """Of another size or dtype than the output."""
    output = ms_deform_attn(*arguments)
    for upstream, error in ((output[:1], ValueError), (output.double(), TypeError)):
        with pytest.raises(error, match="grad_output must"):
            torch.ops.ddetr_ops.ms_deform_attn_backward(upstream, *arguments)
