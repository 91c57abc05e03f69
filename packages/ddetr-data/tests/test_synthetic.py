"""Synthetic sets: reproducible, labelled by what can be seen, and readable as COCO and KITTI."""

import json

import numpy as np
import pytest
from PIL import Image

from ddetr_data.formats import read_kitti
from ddetr_data.synthetic import SHAPES, SceneConfig, draw_mask, draw_scene, make_dataset

SMALL = SceneConfig(image_size_hw=(64, 80))


def scene_bytes(
    index: int, seed: int = 3, split: str = "train", config: SceneConfig = SMALL
) -> bytes:
    return draw_scene(config, seed, split, index).image.tobytes()


def test_image_depends_on_seed_split_and_index_alone():
    """Drawing order changes nothing; another seed, split or index changes the image."""
    forwards = [scene_bytes(i) for i in range(3)]
    backwards = [scene_bytes(i) for i in reversed(range(3))]
    assert forwards == backwards[::-1]
    assert len({*forwards, scene_bytes(0, seed=4), scene_bytes(0, split="val")}) == 5


def test_longer_set_begins_like_a_shorter_one(tmp_path):
    """Asking for more images keeps the first ones byte for byte."""
    short = make_dataset(tmp_path / "a", num_images={"val": 2}, image_size_hw=(64, 64))
    long = make_dataset(tmp_path / "b", num_images={"train": 1, "val": 3}, image_size_hw=(64, 64))
    for name in ("000000.jpg", "000001.jpg"):
        first, second = short.image_dirs["val"] / name, long.image_dirs["val"] / name
        assert first.read_bytes() == second.read_bytes()


def test_boxes_lie_inside_and_are_not_empty():
    """Every label is a box of whole pixels inside the image with at least one visible pixel."""
    for index in range(20):
        for item in draw_scene(SMALL, 0, "train", index).objects:
            left, top, right, bottom = item.box_xyxy
            assert 0 <= left < right <= 80
            assert 0 <= top < bottom <= 64
            assert 0 < item.visible_pixels <= (right - left) * (bottom - top)
            assert 0.35 <= item.visible_fraction <= 1


def test_hidden_objects_have_no_label():
    """A crowd of big objects leaves fewer labels than objects, the front one's among them."""
    crowd = SceneConfig(image_size_hw=(64, 64), objects=(12, 12), object_size=(0.8, 1.0))
    counts = [len(draw_scene(crowd, 0, "train", index).objects) for index in range(5)]
    assert all(1 <= count < 12 for count in counts)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_mask_covers_the_area_that_its_outline_encloses(shape):
    """Drawn and analytical area agree to 3 %, and the shape stays inside its circle."""
    radius = 40.0
    transform = np.array([[radius, 0, 50.0], [0, radius, 50.0]])
    cover = draw_mask(shape, transform, (100, 100))
    assert cover.sum() == pytest.approx(shape.area * radius**2, rel=0.03)
    rows, columns = np.nonzero(cover)
    assert np.hypot(rows + 0.5 - 50, columns + 0.5 - 50).max() <= radius + 1


def test_coco_and_kitti_files_tell_the_same(tmp_path):
    """Both label formats hold the same boxes and names; ids start at 1 and are unique."""
    made = make_dataset(tmp_path, num_images={"val": 4}, image_size_hw=(48, 64), num_classes=3)
    table = json.loads(made.json_files["val"].read_text())
    names = made.classmap.read_text().splitlines()
    assert names == ["circle", "square", "triangle"]
    assert [row["name"] for row in table["categories"]] == names
    assert [row["id"] for row in table["images"]] == [1, 2, 3, 4]
    assert [row["id"] for row in table["annotations"]] == list(
        range(1, len(table["annotations"]) + 1)
    )
    for image in table["images"]:
        assert Image.open(made.image_dirs["val"] / image["file_name"]).size == (64, 48)
        rows = [row for row in table["annotations"] if row["image_id"] == image["id"]]
        label_file = made.label_dirs["val"] / image["file_name"].replace(".jpg", ".txt")
        for row, item in zip(rows, read_kitti(label_file), strict=True):
            left, top, right, bottom = item.box_xyxy
            assert row["bbox"] == [left, top, right - left, bottom - top]
            assert names[row["category_id"] - 1] == item.name


def test_png_and_class_count_are_honoured(tmp_path):
    """The image format and the number of classes follow the options."""
    made = make_dataset(
        tmp_path, num_images={"x": 1}, image_size_hw=(40, 40), num_classes=8, image_format="png"
    )
    assert Image.open(made.image_dirs["x"] / "000000.png").format == "PNG"
    assert len(made.class_names) == 8


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"num_images": {}}, "num_images"),
        ({"num_images": {"train": -1}}, "num_images"),
        ({"num_classes": 99}, "num_classes"),
        ({"image_size_hw": (8, 64)}, "image_size_hw"),
        ({"objects": (5, 2)}, "objects"),
    ],
)
def test_bad_option_is_named(tmp_path, options, text):
    """An impossible option is refused with its name before anything is written."""
    with pytest.raises(ValueError, match=text):
        make_dataset(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_scene_ranges_are_checked():
    """A diameter larger than the image is refused."""
    with pytest.raises(ValueError, match="object_size"):
        SceneConfig(object_size=(0.2, 3.0))


def test_no_objects_is_an_image_without_labels():
    """objects=(0, 0) draws the ground alone."""
    assert draw_scene(SceneConfig(objects=(0, 0)), 0, "train", 0).objects == ()
