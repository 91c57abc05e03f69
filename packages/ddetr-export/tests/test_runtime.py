"""The torch-free runtime, on files made without torch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ddetr_export.runtime import Detector


def picture(brightness: int, width: int = 40, height: int = 30) -> Image.Image:
    return Image.new("RGB", (width, height), (brightness,) * 3)


def test_detections_are_in_pixels_of_the_original(toy_onnx) -> None:
    """The same network output gives boxes that grow with the picture."""
    detector = Detector(toy_onnx())
    small, large = detector.predict([picture(90), picture(90, 400, 300)])
    np.testing.assert_allclose(large.boxes_xyxy, small.boxes_xyxy * 10, rtol=1e-5)
    assert len(small) == 4  # num_select of the file
    assert (np.diff(small.scores) <= 0).all()


def test_categories_come_from_the_file(toy_onnx) -> None:
    """Names and ids are those of the metadata."""
    categories = Detector(toy_onnx()).categories
    assert [(each.id, each.name) for each in categories] == [(1, "red cell"), (2, "platelet")]


def test_a_picture_is_detected_alike_alone_and_in_a_batch(toy_onnx) -> None:
    """Neither the batch size nor a filled-up last batch changes an answer."""
    pictures = [picture(each) for each in (10, 200, 90, 255, 0)]
    alone = Detector(toy_onnx()).predict(pictures)
    for detector in (Detector(toy_onnx(), batch_size=2), Detector(toy_onnx(batch=3))):
        together = detector.predict(pictures)
        assert len(together) == len(pictures)
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
            np.testing.assert_array_equal(one.scores, other.scores)


def test_paths_pictures_and_arrays_are_the_same(toy_onnx, tmp_path) -> None:
    """A path, a Pillow image and an array of the same pixels give the same detections."""
    picture(120).save(tmp_path / "picture.png")
    images = [
        tmp_path / "picture.png",
        str(tmp_path / "picture.png"),
        picture(120),
        np.asarray(picture(120)),
    ]
    first, *others = Detector(toy_onnx()).predict(images)
    for other in others:
        np.testing.assert_array_equal(first.scores, other.scores)


def test_no_image_gives_no_result(toy_onnx) -> None:
    """An empty list is answered with an empty list."""
    assert Detector(toy_onnx()).predict([]) == []


def test_num_select_can_be_lowered(toy_onnx) -> None:
    """The argument wins over the file's number."""
    (found,) = Detector(toy_onnx(), num_select=2).predict([picture(5)])
    assert len(found) == 2


def test_a_missing_file_is_named(tmp_path) -> None:
    """The error says where no file is."""
    with pytest.raises(FileNotFoundError, match=r"absent\.onnx"):
        Detector(tmp_path / "absent.onnx")


def test_a_foreign_file_is_refused(toy_onnx, tmp_path) -> None:
    """A file without our metadata, or that is no ONNX at all, is an error that says so."""
    with pytest.raises(ValueError, match="does not carry the metadata"):
        Detector(toy_onnx(metadata=False))
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(ValueError, match=r"does not accept .*text\.onnx"):
        Detector(tmp_path / "text.onnx")
    with pytest.raises(ValueError, match=r"give the \.onnx file"):
        Detector(tmp_path / "model.engine")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 2}, "exported with batch_size 3"),
        ({"batch_size": 0}, "at least 1"),
        ({"num_select": 0}, "at least 1"),
        ({"providers": ["NoSuchProvider"]}, "NoSuchProvider"),
    ],
)
def test_wrong_arguments_are_refused(toy_onnx, arguments, message) -> None:
    """Each wrong argument gives one sentence that names it."""
    with pytest.raises(ValueError, match=message):
        Detector(toy_onnx(batch=3), **arguments)


def test_torch_is_not_imported(toy_onnx) -> None:
    """A whole detection leaves torch and onnx alone."""
    code = (
        "import sys, numpy, ddetr_export;"
        f"found = ddetr_export.Detector({str(toy_onnx())!r})"
        ".predict([numpy.zeros((20, 20, 3), numpy.uint8)]);"
        "assert len(found[0]) == 4;"
        "print(sorted({'torch', 'onnx', 'ddetr_model'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
