"""The one preprocessing: sizes, figures and padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from ddetr_data.config import AugmentationConfig
from ddetr_data.faults import DataError
from ddetr_data.images import PreprocessConfig, open_image, pad_batch, preprocess, resized_hw


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (480, 640, (800, 1066)),
        (640, 480, (1066, 800)),
        (300, 300, (800, 800)),
        (200, 1000, (266, 1333)),
        (1, 5000, (1, 1333)),
    ],
)
def test_the_short_side_leads_until_the_long_side_is_full(
    height: int, width: int, expected: tuple[int, int]
) -> None:
    """Evaluation sizes are exact for landscape, portrait, square and very long images."""
    assert resized_hw(height, width, PreprocessConfig()) == expected


def test_fixed_mode_stretches() -> None:
    """A fixed input size ignores the image's shape."""
    config = PreprocessConfig(mode="fixed", height=32, width=64)
    assert preprocess(np.zeros((50, 50, 3), np.uint8), config).shape == (3, 32, 64)


def test_pixels_are_normalised_channel_by_channel() -> None:
    """(pixel / 255 - mean) / std, in float32, channels first."""
    pixels = np.full((8, 8, 3), (255, 0, 51), np.uint8)
    config = PreprocessConfig(mean=(0.5, 0.4, 0.3), std=(0.5, 0.2, 0.1), shortest_edge=8)
    planes = preprocess(pixels, config)
    assert planes.dtype == np.float32
    assert np.allclose(planes[:, 0, 0], [1.0, -2.0, -1.0], atol=1e-6)


def test_one_mean_and_std_serve_all_channels() -> None:
    """A single value equals three of the same."""
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    one = preprocess(noise, PreprocessConfig(mean=(0.5,), std=(0.2,), shortest_edge=12))
    three = preprocess(noise, PreprocessConfig(mean=(0.5,) * 3, std=(0.2,) * 3, shortest_edge=12))
    assert (one == three).all()


def test_paths_images_and_arrays_give_the_same_pixels(tmp_path: Path) -> None:
    """The way an image is handed over changes nothing."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    config = PreprocessConfig(shortest_edge=40)
    expected = preprocess(noise, config)
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(noise)):
        assert (preprocess(image, config) == expected).all()
    assert open_image(noise[..., 0]).mode == "RGB"
    with pytest.raises(TypeError, match="must be uint8"):
        open_image(noise.astype(np.float32))


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_an_image_opened_with_pillow_is_turned_as_its_file_is(tmp_path: Path, ending) -> None:
    """A camera held sideways: path and opened image agree, and it is turned once only."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x112] = 6
    path = tmp_path / f"a.{ending}"
    Image.fromarray(noise).save(path, exif=exif)
    by_path = open_image(path)
    assert by_path.size == (20, 30)
    for image in (Image.open(path), Image.open(path).convert("RGB"), by_path):
        assert np.array_equal(open_image(image), by_path)


def test_the_spec_gives_the_config() -> None:
    """The evaluation part of the augmentation block is what counts."""
    augmentation = AugmentationConfig(test_random_resize=64, random_resize_max_size=99)
    config = PreprocessConfig.from_augmentation(augmentation)
    assert (config.mode, config.shortest_edge, config.max_size) == ("shortest_edge", 64, 99)
    fixed = config.fixed_to(32, 48)
    assert (fixed.mode, fixed.height, fixed.width) == ("fixed", 32, 48)
    assert PreprocessConfig(**config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    "fault", [{"mode": "fixed"}, {"std": (0,)}, {"mean": (0.5, 0.5)}, {"std": (1e999,)}]
)
def test_a_bad_config_is_refused(fault: dict[str, object]) -> None:
    """A size that is missing and a division by zero are found before any image."""
    with pytest.raises(ValidationError, match=r"must have|needs|finite"):
        PreprocessConfig(**fault)


def test_a_batch_is_padded_at_the_right_and_the_bottom() -> None:
    """Every image stands at the top left, and the mask is true on the rest."""
    images, mask = pad_batch([np.ones((3, 2, 4), np.float32), np.ones((3, 3, 1), np.float32)])
    assert images.shape == (2, 3, 3, 4)
    assert (images[:, 0] == ~mask).all()
    assert (~mask).sum(axis=(1, 2)).tolist() == [8, 3]


def test_a_batch_may_have_a_given_size() -> None:
    """A fixed size is kept, and an image that is larger is an error."""
    images, mask = pad_batch([np.ones((3, 2, 2), np.float32)], size_hw=(4, 8))
    assert images.shape == (1, 3, 4, 8)
    assert mask.sum() == 28
    with pytest.raises(ValueError, match="do not fit"):
        pad_batch([np.ones((3, 5, 2), np.float32)], size_hw=(4, 8))
    with pytest.raises(ValueError, match="at least one image"):
        pad_batch([])


@pytest.mark.parametrize(
    ("stored", "words"),
    [({"mode": "zoom"}, "mode"), ({"std": [0.0]}, "std above 0"), ({"colour": 1}, "colour")],
)
def test_what_a_file_says_of_its_preprocessing_is_checked(stored, words) -> None:
    """One sentence names the file and what cannot be."""
    with pytest.raises(DataError, match=f"model.pth has bad metadata: preprocess: .*{words}"):
        PreprocessConfig.of_file(stored, "model.pth")
