"""Wrong calls are refused by name, in Python and again in the binding; none reaches a kernel."""

from __future__ import annotations

import pytest
import torch

from ddetr_ops import _native, ms_deform_attn

BATCH, PIXELS, HEADS, CHANNELS, QUERIES, LEVELS, POINTS = 2, 73, 2, 8, 7, 3, 4
PLACES = (BATCH, QUERIES, HEADS, LEVELS, POINTS)

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


@pytest.mark.skipif(bool(_native.problem_on("cpu")), reason=_native.problem_on("cpu") or "native")
def test_starts_beside_sizes_as_ints_are_compared(arguments):
    """They are not needed there; wrong ones are not passed over."""
    tensors = dict(arguments.__dict__, spatial_shapes=arguments.spatial_shapes.tolist())
    tensors["level_start_index"] = torch.tensor([0, 1, 2])
    with pytest.raises(ValueError, match=r"level_start_index\[1\] must be 54"):
        ms_deform_attn(*tensors.values())


def raw(address=1, dtype="float32", sizes=()):
    """An array as the binding sees it; the address is never followed."""
    return (address, dtype, tuple(sizes))


RAW = {
    "value": raw(sizes=(BATCH, PIXELS, HEADS, CHANNELS)),
    "shapes": [(6, 9), (3, 5), (2, 2)],
    "starts": [0, 54, 69],
    "locations": raw(sizes=(*PLACES, 2)),
    "weights": raw(sizes=PLACES),
    "output": raw(sizes=(BATCH, QUERIES, HEADS * CHANNELS)),
    "threads": 1,
}
WRONG_RAW = [
    ("value", raw(sizes=(1, 2, 3)), ValueError, "value must be"),
    ("value", raw(dtype="int8"), TypeError, "value must be float32"),
    ("value", (1, "float32"), TypeError, "address, dtype, sizes"),
    ("shapes", [(6, 9), (3, 5)], ValueError, "one entry for each of 3"),
    ("shapes", [(6, 9), (3, 5), (0, 2)], ValueError, r"spatial_shapes\[2\]"),
    ("shapes", [(2**62, 4), (3, 5), (2, 2)], ValueError, "cannot hold"),
    ("shapes", [(6, 9), (3, 5), (2, 3)], ValueError, "spatial_shapes make 75"),
    ("starts", [0, 53, 69], ValueError, r"level_start_index\[1\] must be 54"),
    ("starts", [54, 0, 69], ValueError, r"level_start_index\[0\] must be 0"),
    ("starts", [0, 54], ValueError, "one entry for each of 3"),
    ("locations", raw(sizes=PLACES), ValueError, "sampling_locations must be"),
    ("locations", raw(dtype="bfloat16", sizes=(*PLACES, 2)), TypeError, "must be float32"),
    ("weights", raw(sizes=(*PLACES, 2)), ValueError, "attention_weights must have the sizes"),
    ("weights", raw(dtype="float16", sizes=PLACES), TypeError, "must be float32"),
    ("output", raw(sizes=(BATCH, QUERIES, HEADS, CHANNELS)), ValueError, "output must have"),
    ("output", raw(dtype="float16", sizes=RAW["output"][2]), TypeError, "of value's dtype"),
]


@pytest.mark.skipif(bool(_native.problem_on("cpu")), reason=_native.problem_on("cpu") or "native")
@pytest.mark.parametrize(("name", "wrong", "error", "words"), WRONG_RAW)
def test_the_binding_checks_what_an_address_cannot_tell(name, wrong, error, words):
    """Bad sizes, dtypes and levels stop before any address is followed."""
    with pytest.raises(error, match=words):
        _native._core.forward(*{**RAW, name: wrong}.values())
