"""The two standard-operator forms of deformable attention's sampling."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from ddetr_export.graph import sample_by_gather, sample_by_grid  # noqa: E402

# Coordinates up to 8 pixels, rounded in float32, weigh neighbours of about 4 by 1e-6.
TOLERANCE = 2e-5
SHAPES_HW = [(6, 8), (3, 4), (1, 2), (1, 1)]
HEADS, CHANNELS, POINTS = 2, 5, 3


def sampling_inputs(batch: int, queries: int) -> tuple:
    """Random values and locations, among them edges, pixel centres and points far outside."""
    pixels = sum(height * width for height, width in SHAPES_HW)
    value = torch.randn(batch, pixels, HEADS, CHANNELS)
    x, y = torch.rand(2, batch, queries, HEADS, len(SHAPES_HW) * POINTS) * 1.4 - 0.2
    edges = torch.tensor([0.0, 1.0, 0.5 / 8, 1 + 0.5 / 8, -3.0, 7.0, 1 - 1e-7, 1 + 1e-7])
    for level in range(len(SHAPES_HW)):
        first = level * POINTS
        x[0, :8, 0, first : first + POINTS] = edges[: len(x[0, :8]), None]
        y[0, :8, 0, first] = edges[: len(y[0, :8])]
    weights = torch.rand(batch, queries, HEADS, len(SHAPES_HW) * POINTS)
    return value, x, y, weights


def test_gather_and_grid_agree() -> None:
    """Both forms give the same sums, at edges and outside too."""
    value, x, y, weights = sampling_inputs(batch=2, queries=50)
    gathered = sample_by_gather(value, SHAPES_HW, x, y, weights)
    assert gathered.shape == (2, 50, HEADS * CHANNELS)
    doubles = (each.double() for each in (x, y, weights))
    expected = sample_by_grid(value.double(), SHAPES_HW, *doubles)
    torch.testing.assert_close(gathered.double(), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("sample", [sample_by_gather, sample_by_grid])
def test_between_four_pixels_is_their_mean(sample) -> None:
    """The middle of a 2x2 map weighs its four pixels alike."""
    value = torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(1, 4, 1, 1)
    centre = torch.full((1, 1, 1, 1), 0.5)
    found = sample(value, [(2, 2)], centre, centre, torch.ones(1, 1, 1, 1))
    assert found.item() == pytest.approx(3)


@pytest.mark.parametrize("sample", [sample_by_gather, sample_by_grid])
def test_points_outside_add_nothing(sample) -> None:
    """Points more than a pixel outside the image give zero."""
    value, x, y, weights = sampling_inputs(batch=1, queries=4)
    for away in (-9, 9):
        assert not sample(value, SHAPES_HW, x + away, y, weights).any()
        assert not sample(value, SHAPES_HW, x, y + away, weights).any()


@pytest.mark.parametrize(
    ("sample", "opset"),
    [(sample_by_gather, 11), (sample_by_gather, 12), (sample_by_gather, 17), (sample_by_grid, 16)],
)
@pytest.mark.filterwarnings("ignore")
def test_sampling_exports_with_a_dynamic_batch(sample, opset, tmp_path) -> None:
    """ONNX Runtime gives PyTorch's sums at another batch than the traced one."""

    class Sampling(torch.nn.Module):
        def forward(self, value, x, y, weights):
            return sample(value, SHAPES_HW, x, y, weights)

    names = ["value", "x", "y", "weights"]
    torch.onnx.export(
        Sampling(),
        sampling_inputs(batch=2, queries=7),
        tmp_path / "sampling.onnx",
        opset_version=opset,
        dynamo=False,
        input_names=names,
        dynamic_axes={name: {0: "batch"} for name in names},
    )
    session = onnxruntime.InferenceSession(tmp_path / "sampling.onnx")
    inputs = sampling_inputs(batch=3, queries=7)
    feeds = {name: array.numpy() for name, array in zip(names, inputs, strict=True)}
    expected = sample(inputs[0], SHAPES_HW, *inputs[1:])
    found = torch.from_numpy(session.run(None, feeds)[0])
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)
    feeds["x"][0] = np.nan  # spoils its own image alone
    found = torch.from_numpy(session.run(None, feeds)[0])
    torch.testing.assert_close(found[1:], expected[1:], atol=TOLERANCE, rtol=0)


def test_a_location_that_is_no_number_spoils_its_own_image_alone() -> None:
    """In ONNX Runtime too, whose Gather refuses an index outside of the table."""
    value, x, y, weights = sampling_inputs(batch=2, queries=4)
    expected = sample_by_gather(value, SHAPES_HW, x, y, weights)
    x[0, 1], y[0, 2] = float("nan"), float("nan")
    found = sample_by_gather(value, SHAPES_HW, x, y, weights)
    torch.testing.assert_close(found[1], expected[1], atol=0, rtol=0)
    torch.testing.assert_close(found[0, 3], expected[0, 3], atol=0, rtol=0)
