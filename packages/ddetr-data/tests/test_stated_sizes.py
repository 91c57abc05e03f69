"""Boxes that only the image itself can hold: the size that the JSON states is not believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddetr_data.check import check_conversion, check_dataset
from ddetr_data.coco import load_sources
from ddetr_data.config import DataSource
from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import convert
from ddetr_data.loading import verify_images

Content = dict[str, Any]
Write = Callable[..., DataSource]
FAR_RIGHT = [30.0, 2.0, 9.0, 8.0]  # inside the image of 40 x 30 alone
NEAR = [5.0, 4.0, 10.0, 8.0]


@pytest.fixture
def read(content: Content, write_source: Write) -> Callable[..., tuple[list[Any], dict[str, int]]]:
    """Give boxes and faults of one image with a stated size, after all rules."""

    def run(stated_wh: tuple[int, int], *boxes: list[float]) -> tuple[list[Any], dict[str, int]]:
        image = content["images"][0] | dict(zip(("width", "height"), stated_wh, strict=True))
        rows = [content["annotations"][0] | {"id": n, "bbox": box} for n, box in enumerate(boxes)]
        source = write_source({**content, "images": [image], "annotations": rows})
        verified = verify_images(load_sources([source], num_classes=None))
        (record,) = verified.images
        assert (record.width, record.height) == (40, 30)
        report = check_dataset({"train": [source]})
        assert {name: report.counts.get(name, 0) for name in verified.faults} == verified.faults
        return record.boxes_xywh.tolist(), dict(verified.faults)

    return run


@pytest.mark.parametrize("stated_wh", [(30, 40), (20, 29), (1, 1), (20, 15)])
def test_a_size_too_small_for_the_boxes_costs_none(
    read: Callable[..., Any], stated_wh: tuple[int, int]
) -> None:
    """Sides exchanged, invented, or those of a thumbnail: the boxes stay as they are."""
    boxes, faults = read(stated_wh, FAR_RIGHT, NEAR)
    assert boxes == [FAR_RIGHT, NEAR]
    assert faults == {"other_image_size": 1}


@pytest.mark.parametrize("stated_wh", [(39, 30), (41, 31), (40, 29)])
def test_a_border_of_a_pixel_is_no_resize(
    read: Callable[..., Any], stated_wh: tuple[int, int]
) -> None:
    """It was cut off or added, at the right or the bottom: the boxes stay as they are."""
    # fault 28
    boxes, faults = read(stated_wh, FAR_RIGHT, NEAR)
    assert boxes == [FAR_RIGHT, NEAR]
    assert faults == {"other_image_size": 1}


def test_a_box_a_little_over_the_border_says_nothing_about_the_size(
    read: Callable[..., Any],
) -> None:
    """Boxes of an image that was made larger are scaled, sloppy ones too."""
    boxes, faults = read((20, 15), [15, 2, 6.5, 4], [1, 1, 10, 10])
    assert boxes == [[30, 4, 10, 8], [2, 2, 20, 20]]
    assert faults == {"clipped_box": 1, "resized_image": 1}


def test_more_boxes_outvote_one(read: Callable[..., Any]) -> None:
    """A size that holds most boxes, which the image does not hold, is that of the labels."""
    large = [[30, 40, 20, 15], [50, 2, 25, 50]]
    boxes, faults = read((80, 60), *large, [85, 2, 9, 9])
    assert boxes == [[15, 20, 10, 7.5], [25, 1, 12.5, 25]]
    assert faults == {"outside_box": 1, "resized_image": 1}


def test_boxes_beyond_both_sizes_are_dropped(read: Callable[..., Any]) -> None:
    """Such a box is no reason to doubt the size that the others fit."""
    boxes, faults = read((20, 15), [500, 2, 9, 9], [1, 1, 10, 10])
    assert boxes == [[2, 2, 20, 20]]
    assert faults == {"outside_box": 1, "resized_image": 1}


def test_an_image_that_cannot_be_read_keeps_its_stated_size(
    content: Content, write_source: Write
) -> None:
    """Reading labels alone needs no images."""
    content["annotations"][0]["bbox"] = [35, 2, 30, 9]
    source = write_source(content)
    (Path(source.image_dir) / "1.png").unlink()
    loaded = load_sources([source], num_classes=None)
    assert dict(loaded.faults) == {"clipped_box": 1}
    assert loaded.images[0].boxes_xywh[0].tolist() == [35, 2, 5, 9]


def test_boxes_of_the_upright_image_are_not_turned_again(
    content: Content, write_source: Write
) -> None:
    """The JSON has the size before the EXIF turn, its boxes are of after it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content["annotations"] = [
        content["annotations"][0] | {"id": 1, "bbox": [5, 25, 10, 14]},
        content["annotations"][0] | {"id": 2, "bbox": [1, 1, 20, 20]},
    ]
    source = write_source(content)
    Image.new("RGB", (40, 30)).save(Path(source.image_dir) / "1.png", exif=exif)
    verified = verify_images(load_sources([source], num_classes=None))
    assert dict(verified.faults) == {"other_image_size": 1}
    boxes = verified.images[0].boxes_xywh
    assert np.array_equal(boxes, [[5, 25, 10, 14], [1, 1, 20, 20]])


PLACEHOLDER_WH = (1280, 960)
SAME_SHAPE, OTHERS = ((640, 480), (320, 240), (640, 480), (640, 480)), ((300, 400), (500, 200))


@pytest.fixture
def sized(tmp_path: Path) -> Callable[..., DataSource]:
    """Images of given sizes and one box each, which fits its image, with sizes as they are told."""

    def write(*sizes: tuple[tuple[int, int], Any], boxes: int = 1) -> DataSource:
        images, annotations = [], []
        for number, (actual, stated) in enumerate(sizes, start=1):
            Image.new("RGB", actual).save(tmp_path / f"{number}.png")
            told = dict(zip(("width", "height"), stated, strict=True)) if stated else {}
            images.append({"id": number, "file_name": f"{number}.png", **told})
            for place in range(boxes):
                row = {"id": len(annotations) + 1, "image_id": number, "category_id": 1}
                annotations.append(
                    {**row, "bbox": [10.0 + place, 20, 100, 50], "area": 5000.0, "iscrowd": 0}
                )
        table = {"images": images, "annotations": annotations}
        table["categories"] = [{"id": 1, "name": "a"}]
        (tmp_path / "labels.json").write_text(json.dumps(table))
        return DataSource(image_dir=str(tmp_path), json_file=str(tmp_path / "labels.json"))

    return write


def boxes_of(source: DataSource) -> tuple[list[list[float]], dict[str, int]]:
    """All boxes after all rules, and their faults, of which check finds the same."""
    verified = verify_images(load_sources([source], num_classes=None))
    report = check_dataset({"train": [source]})
    assert {name: report.counts.get(name, 0) for name in verified.faults} == verified.faults
    assert report.exit_status < 2
    for record in verified.images:
        with Image.open(record.path) as image:
            assert image.size == (record.width, record.height)
    return [box for record in verified.images for box in record.boxes_xywh.tolist()], dict(
        verified.faults
    )


@pytest.mark.parametrize(
    ("placed", "true"),
    [
        ((*SAME_SHAPE, *OTHERS), ()),  # all images
        ((*SAME_SHAPE, *OTHERS), ((200, 100), (1280, 960))),  # some of them
        (((640, 480), (320, 240)), ()),  # of one shape, but two sizes
        (((2560, 1920), (300, 400)), ()),  # larger than the placeholder too
    ],
)
def test_one_size_of_many_images_is_a_placeholder(
    sized: Callable[..., DataSource], placed: Any, true: Any
) -> None:
    """It is true of none of them: boxes stay where they are, images of the same shape included."""
    # fault 28
    source = sized(*((size, PLACEHOLDER_WH) for size in placed), *((size, size) for size in true))
    boxes, faults = boxes_of(source)
    assert boxes == [[10, 20, 100, 50]] * (len(placed) + len(true))
    assert faults == {"other_image_size": len(placed)}


def test_a_size_that_boxes_refute_for_some_is_refuted_for_all(
    sized: Callable[..., DataSource], tmp_path: Path
) -> None:
    """Smaller than the images: one box alone lies beyond it."""
    # fault 28
    source = sized(*[((640, 480), (320, 240))] * 4)
    content = json.loads((tmp_path / "labels.json").read_text())
    content["annotations"][0]["bbox"] = [400, 300, 100, 50]
    (tmp_path / "labels.json").write_text(json.dumps(content))
    boxes, faults = boxes_of(source)
    assert boxes[1:] == [[10, 20, 100, 50]] * 3
    assert faults == {"other_image_size": 4}


def test_many_boxes_that_all_fit_a_smaller_image_are_its_pixels(
    sized: Callable[..., DataSource],
) -> None:
    """Those of the larger frame would not all lie in its first quarter."""
    # fault 28
    boxes, faults = boxes_of(sized(*[((640, 480), PLACEHOLDER_WH)] * 2, boxes=3))
    assert boxes == [[10 + place, 20, 100, 50] for place in range(3)] * 2
    assert faults == {"other_image_size": 2}


def test_copies_of_one_scale_are_believed(sized: Callable[..., DataSource], tmp_path: Path) -> None:
    """A set that was halved keeps its labels, though one image in twenty is of another shape."""
    # fault 28
    source = sized(*[((640, 480), PLACEHOLDER_WH)] * 19, ((300, 400), PLACEHOLDER_WH))
    content = json.loads((tmp_path / "labels.json").read_text())
    for row in content["annotations"][:19]:
        row["bbox"] = [800, 500, 200, 100]
    (tmp_path / "labels.json").write_text(json.dumps(content))
    boxes, faults = boxes_of(source)
    assert boxes == [[400, 250, 100, 50]] * 19 + [[10, 20, 100, 50]]
    assert faults == {"resized_image": 19, "other_image_size": 1}


@pytest.mark.parametrize(
    ("stated", "fault"),
    [
        ((480, 640), "other_image_size"),
        ((0, 0), "filled_image_size"),
        ((640, 0), "filled_image_size"),
        ((-1, -1), "filled_image_size"),
        (None, "filled_image_size"),
        ((1, 1), "other_image_size"),
    ],
)
def test_sizes_that_the_files_refute_give_way(
    sized: Callable[..., DataSource], stated: Any, fault: str
) -> None:
    """Sides exchanged, zero, missing or invented, in all images or in one."""
    # fault 28
    for others in ((stated, stated), ((640, 480), (640, 480))):
        boxes, faults = boxes_of(sized(*(((640, 480), told) for told in (stated, *others))))
        assert boxes == [[10, 20, 100, 50]] * 3
        assert faults == {fault: 3 if others[0] == stated else 1}


def test_exported_labels_follow_the_files(sized: Callable[..., DataSource], tmp_path: Path) -> None:
    """YOLO's fractions are of the image as it is, not of a placeholder."""
    # fault 28
    source = sized(*((size, PLACEHOLDER_WH) for size in (*SAME_SHAPE, *OTHERS)))
    config = ConvertConfig(
        format="coco_to_yolo",
        input_source=source.json_file[0],
        data_root=source.image_dir,
        results_dir=tmp_path / "out",
    )
    convert(config)
    words = (tmp_path / "out/labels/1.txt").read_text().split()
    assert [float(word) for word in words[1:]] == pytest.approx(
        [60 / 640, 45 / 480, 100 / 640, 50 / 480]
    )


def test_placeholders_of_voc_files_are_not_believed(tmp_path: Path) -> None:
    """The same rule for a folder of XML files, in convert and check."""
    # fault 28
    size = "<size><width>1280</width><height>960</height></size>"
    box = "<xmin>11</xmin><ymin>21</ymin><xmax>110</xmax><ymax>70</ymax>"
    text = f"<object><name>cat</name><bndbox>{box}</bndbox></object>"
    for number, actual in enumerate((*SAME_SHAPE, *OTHERS), start=1):
        Image.new("RGB", actual).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.xml").write_text(f"<annotation>{size}{text}</annotation>")
    config = ConvertConfig(
        format="voc_to_coco", input_source=tmp_path, results_dir=tmp_path / "out", num_shards=1
    )
    summary = convert(config)
    assert summary.repaired == {"other_image_size": {"": 6}}
    (path,) = summary.folds[0].json_files
    found = [row["bbox"] for row in json.loads(path.read_text())["annotations"]]
    assert found == [[10, 20, 100, 50]] * 6
    assert check_conversion(config).counts["other_image_size"] == 6
