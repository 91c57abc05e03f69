"""Drawing detections: deterministic colours, exact outlines, errors that name the class."""

import numpy as np
import pytest
from PIL import Image

from ddetr_data.images import class_colors, draw_detections, palette
from ddetr_data.types import Category, Detections

CATEGORIES = (Category(1, "apple"), Category(2, "rotten apple"))


def one_detection(box, label=1, score=0.9):
    return Detections(np.array([box], np.float32), np.array([score], np.float32), np.array([label]))


def test_palette_is_stable_and_distinct():
    """Colours do not depend on how many are asked for, and the first 20 differ clearly."""
    colors = palette(20)
    assert palette(5) == colors[:5]
    gaps = [np.abs(np.subtract(a, b)).max() for i, a in enumerate(colors) for b in colors[:i]]
    assert min(gaps) > 20


@pytest.mark.parametrize(
    ("value", "rgb"), [("red", (255, 0, 0)), ("#0a141e", (10, 20, 30)), ("Lime", (0, 255, 0))]
)
def test_edges_have_the_color_of_the_map(value, rgb):
    """Every pixel of the box's inner edges has the given colour, and the middle is untouched."""
    image = Image.new("RGB", (100, 80), "white")
    found = one_detection([20, 30, 60, 70])
    drawn = np.asarray(
        draw_detections(image, found, CATEGORIES, color_map={"apple": value}, outline_width=2)
    )
    for edge in (
        drawn[30:70, 20:22],
        drawn[30:70, 58:60],
        drawn[30:32, 20:60],
        drawn[68:70, 20:60],
    ):
        assert (edge == rgb).all()
    assert (drawn[34:66, 24:56] == 255).all()
    assert (np.asarray(image) == 255).all()


@pytest.mark.parametrize("value", ["no such colour", "#12", "", 7, None])
def test_bad_color_names_class_and_value(value):
    """The error says which class has which impossible colour."""
    with pytest.raises(ValueError, match=r"'rotten apple'.*" + repr(value)):
        class_colors(CATEGORIES, {"rotten apple": value})


def test_unknown_class_in_color_map_is_warned_about(caplog):
    """A map for several models works, but a name without a class is said."""
    colors = class_colors(CATEGORIES, {"pear": "red", "apple": "blue"})
    assert colors[1] == (0, 0, 255)
    assert "pear" in caplog.text


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16", "CMYK"])
@pytest.mark.parametrize("box", [[-50, -50, 500, 500], [99, 79, 99, 79], [10, 0, 30, 5]])
def test_any_mode_and_box_is_drawn(mode, box):
    """Boxes at, beyond and on the border draw on every kind of image."""
    drawn = draw_detections(Image.new(mode, (100, 80)), one_detection(box), CATEGORIES)
    assert (drawn.mode, drawn.size) == ("RGB", (100, 80))
    assert np.asarray(drawn).any()


def test_best_score_is_on_top():
    """Where two boxes have one edge, the better detection's colour is seen."""
    both = Detections(
        np.array([[10, 30, 60, 70]] * 2, np.float32),
        np.array([0.9, 0.2], np.float32),
        np.array([1, 2]),
    )
    colors = {"apple": "red", "rotten apple": "blue"}
    drawn = draw_detections(Image.new("RGB", (80, 80)), both, CATEGORIES, color_map=colors)
    assert drawn.getpixel((10, 69)) == (255, 0, 0)


def test_label_without_a_category_is_still_drawn():
    """An id that has no name is shown with its number in grey."""
    found = one_detection([10, 30, 60, 70], label=77)
    drawn = draw_detections(Image.new("RGB", (80, 80)), found, CATEGORIES)
    assert drawn.getpixel((10, 69)) == (128, 128, 128)


def test_outline_width_must_be_positive():
    """An outline of no width would draw nothing, so it is refused."""
    with pytest.raises(ValueError, match="outline_width"):
        draw_detections(
            Image.new("RGB", (8, 8)), one_detection([0, 0, 4, 4]), CATEGORIES, outline_width=0
        )


def test_an_image_with_a_turn_is_drawn_upright():
    """Boxes are in the turned image, so the drawing is too."""
    image = Image.new("RGB", (100, 80), "white")
    image.getexif()[0x112] = 6
    drawn = draw_detections(image, one_detection([0, 90, 80, 100]), CATEGORIES)
    assert drawn.size == (80, 100)
    assert image.size == (100, 80)
