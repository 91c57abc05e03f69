"""The torch-free runtime, on files made without torch."""

from __future__ import annotations

import logging
import subprocess
import sys

import numpy as np
import onnx
import pytest
from PIL import Image

from ddetr_data.files import DamagedFileError, EncryptionError, NotEncryptedError, WrongKeyError
from ddetr_export import open_detector
from ddetr_export.onnx import seal, write_model


def plain_image(brightness: int, width: int = 40, height: int = 30) -> Image.Image:
    return Image.new("RGB", (width, height), (brightness,) * 3)


def test_detections_are_in_pixels_of_the_original(toy_onnx) -> None:
    """The same network output gives boxes that grow with the image."""
    detector = open_detector(toy_onnx())
    small, large = detector.predict([plain_image(90), plain_image(90, 400, 300)])
    np.testing.assert_allclose(large.boxes_xyxy, small.boxes_xyxy * 10, rtol=1e-5)
    assert len(small) == 4  # num_select of the file
    assert (np.diff(small.scores) <= 0).all()


def test_categories_come_from_the_file(toy_onnx) -> None:
    """Names and ids are those of the metadata."""
    categories = open_detector(toy_onnx()).categories
    assert [(each.id, each.name) for each in categories] == [(1, "red cell"), (2, "platelet")]


def test_an_image_is_detected_alike_alone_and_in_a_batch(toy_onnx) -> None:
    """Neither the batch size nor a filled-up last batch changes an answer."""
    images = [plain_image(each) for each in (10, 200, 90, 255, 0)]
    alone = open_detector(toy_onnx()).predict(images)
    for detector in (open_detector(toy_onnx(), batch_size=2), open_detector(toy_onnx(batch=3))):
        together = detector.predict(images)
        assert len(together) == len(images)
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
            np.testing.assert_array_equal(one.scores, other.scores)


def test_paths_images_and_arrays_are_the_same(toy_onnx, tmp_path) -> None:
    """A path, a Pillow image and an array of the same pixels give the same detections."""
    plain_image(120).save(tmp_path / "image.png")
    images = [
        tmp_path / "image.png",
        str(tmp_path / "image.png"),
        plain_image(120),
        np.asarray(plain_image(120)),
    ]
    first, *others = open_detector(toy_onnx()).predict(images)
    for other in others:
        np.testing.assert_array_equal(first.scores, other.scores)


def test_no_image_gives_no_result(toy_onnx) -> None:
    """An empty list is answered with an empty list."""
    assert open_detector(toy_onnx()).predict([]) == []


def test_num_select_can_be_lowered(toy_onnx) -> None:
    """The argument wins over the file's number."""
    (found,) = open_detector(toy_onnx(), num_select=2).predict([plain_image(5)])
    assert len(found) == 2


def test_a_missing_file_is_named(tmp_path) -> None:
    """The error says where no file is."""
    with pytest.raises(FileNotFoundError, match=r"absent\.onnx"):
        open_detector(tmp_path / "absent.onnx")


def test_a_foreign_file_is_refused(toy_onnx, tmp_path) -> None:
    """A file without our metadata, or that is no ONNX at all, is an error that says so."""
    with pytest.raises(ValueError, match="does not carry the metadata"):
        open_detector(toy_onnx(metadata=False))
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(ValueError, match=r"does not accept .*text\.onnx"):
        open_detector(tmp_path / "text.onnx")
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ValueError, match=r"empty\.onnx"):
        open_detector(tmp_path / "empty.onnx")


def test_a_file_that_contradicts_its_metadata_is_refused(toy_onnx, tmp_path) -> None:
    """Another input size, or outputs that are none of a detector's, are told when it is opened."""
    wrong_size = onnx.load(toy_onnx())
    wrong_size.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 40
    other_outputs = onnx.load(toy_onnx())
    del other_outputs.graph.output[1]
    other_input = onnx.load(toy_onnx())
    other_input.graph.input[0].name = other_input.graph.node[0].input[0] = "pixels"
    path = tmp_path / "wrong.onnx"
    for model, message in (
        (wrong_size, r"metadata say \(batch, 3, 24, 32\)"),
        (other_outputs, "has the outputs pred_logits; a detector needs"),
        (other_input, "no input named inputs"),
    ):
        path.write_bytes(model.SerializeToString())
        with pytest.raises(ValueError, match=message):
            open_detector(path)


def test_a_damaged_file_is_refused(toy_onnx, tmp_path) -> None:
    """Every byte counts, also where ONNX Runtime would run the file."""
    model = seal(onnx.load(toy_onnx()))
    whole = model.SerializeToString()
    path = tmp_path / "sealed.onnx"
    path.write_bytes(whole)
    assert open_detector(path).predict([GREY])
    name = whole.index(b"ddetr.sha256")  # of the digest, without which none would be looked for
    for index in (*range(5, len(whole), 61), *range(name - 4, name + 16)):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 4]) + whole[index + 1 :])
        with pytest.raises(ValueError, match=r"sealed\.onnx"):
            open_detector(path)
    model.doc_string = "changed on purpose"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"is damaged.*remove its metadata ddetr\.sha256"):
        open_detector(path)
    path.write_bytes(seal(model).SerializeToString())
    assert open_detector(path).predict([GREY])


def test_answers_of_another_shape_are_refused(toy_onnx, tmp_path) -> None:
    """Of a file whose shapes are not what it says."""
    model = onnx.load(toy_onnx())
    boxes = next(each for each in model.graph.initializer if each.name == "box_table")
    boxes.CopyFrom(onnx.numpy_helper.from_array(np.zeros((1, 5, 3), np.float32), "box_table"))
    model.graph.output[1].type.tensor_type.shape.dim[2].dim_value = 3
    path = tmp_path / "narrow.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"pred_boxes \(1, 5, 3\) for 1 images"):
        open_detector(path).predict([GREY])


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("ddetr.preprocess", "[1]", "does not carry the metadata.*preprocess holds no names"),
        ("ddetr.model", "[]", "does not carry the metadata.*model holds no names"),
        ("ddetr.format_version", "999", "version 999, made by a newer ddetr-export"),
        ("ddetr.format_version", '"x"', "does not carry the metadata"),
        ("ddetr.model", '{"num_classes": 1}', "class id 1 is not one of the model's 0 to 0"),
        (
            "ddetr.preprocess",
            '{"mode": "fixed", "height": 24, "width": 32, "swap": true}',
            r"whose preprocessing this version does not know \(swap: Extra inputs",
        ),
    ],
)
def test_metadata_of_another_kind_are_refused(toy_onnx, key, text, message) -> None:
    """Of a damaged file, or of a version to come: one sentence."""
    path = toy_onnx()
    model = onnx.load(path)
    next(each for each in model.metadata_props if each.key == key).value = text
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=message) as told:
        open_detector(path)
    assert "\n" not in str(told.value)


GREY = np.linspace(0, 255, 30 * 40).reshape(30, 40).astype(np.uint8)
RGB = np.stack([GREY] * 3, axis=-1)


@pytest.mark.parametrize(
    "image",
    [
        GREY,
        GREY[:, :, None],
        (GREY.astype(np.uint16) * 257),
        np.dstack([RGB, np.full_like(GREY, 255)]),
        Image.fromarray(GREY),
        Image.fromarray(GREY.astype(np.uint16) * 257),
        Image.fromarray(RGB).convert("RGBA"),
    ],
    ids=["grey", "one channel", "16 bit", "RGBA", "L image", "I;16 image", "RGBA image"],
)
def test_grey_transparent_and_16_bit_images_are_taken(toy_onnx, image) -> None:
    """Each is detected in as the same image in RGB."""
    (expected,) = open_detector(toy_onnx()).predict([RGB])
    (found,) = open_detector(toy_onnx()).predict([image])
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (["absent.png"], FileNotFoundError, r"absent\.png is missing"),
        (["broken.png"], ValueError, r"broken\.png cannot be read"),
        ([np.zeros((4, 5, 7), np.uint8)], TypeError, r"\(H, W, 3\) or \(H, W\)"),
        ([np.zeros((4, 5, 3), np.float32)], TypeError, "must be uint8, 0 to 255, got float32"),
        ([np.zeros((0, 5, 3), np.uint8)], ValueError, "at least one pixel"),
        ([None], TypeError, "an image must be"),
        ("one.png", TypeError, "put a single one in brackets"),
        (RGB, TypeError, "put a single one in brackets"),
    ],
)
def test_what_is_no_image_is_told(toy_onnx, tmp_path, monkeypatch, images, error, message) -> None:
    """One sentence each, and the detector goes on working."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    detector = open_detector(toy_onnx())
    with pytest.raises(error, match=message):
        detector.predict(images)
    assert len(detector.predict([RGB])) == 1


def test_an_encrypted_file_detects_the_same(toy_onnx, locked_onnx) -> None:
    """With its key it is read in memory; nothing new is on the disk."""
    before = sorted(locked_onnx.parent.iterdir())
    (expected,) = open_detector(toy_onnx()).predict([RGB])
    (found,) = open_detector(locked_onnx, encryption_key="open sesame").predict([RGB])
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert sorted(locked_onnx.parent.iterdir()) == before


def test_each_failure_to_decrypt_has_its_sentence(locked_onnx, toy_onnx) -> None:
    """No key, a wrong key, a damaged file and one that is not encrypted are told apart."""
    with pytest.raises(EncryptionError, match="is encrypted: set encryption_key"):
        open_detector(locked_onnx)
    with pytest.raises(WrongKeyError, match="another one was used"):
        open_detector(locked_onnx, encryption_key="open says me")
    locked_onnx.write_bytes(locked_onnx.read_bytes()[:-7])
    with pytest.raises(DamagedFileError, match="damaged or cut short"):
        open_detector(locked_onnx, encryption_key="open sesame")
    locked_onnx.write_bytes(toy_onnx().read_bytes())
    with pytest.raises(NotEncryptedError, match="is not encrypted although its name says so"):
        open_detector(locked_onnx, encryption_key="open sesame")


def test_a_plain_file_is_read_with_a_key_too(toy_onnx) -> None:
    """A key in the environment does not lock out the other files."""
    assert len(open_detector(toy_onnx(), encryption_key="open sesame").predict([RGB])) == 1


@pytest.fixture
def locked_onnx(toy_onnx):
    path = toy_onnx().with_name("locked.onnx.enc")
    write_model(path, toy_onnx().read_bytes(), "open sesame")
    return path


def test_the_providers_are_chosen_and_told(toy_onnx, caplog) -> None:
    """The CPU is always there; what was chosen is a property and in the log."""
    with caplog.at_level(logging.INFO, "ddetr_export"):
        detector = open_detector(toy_onnx(), providers=["CPUExecutionProvider"])
    assert detector.providers == ("CPUExecutionProvider",)
    assert "CPUExecutionProvider" in caplog.text
    with pytest.raises(ValueError, match="at least one execution provider"):
        open_detector(toy_onnx(), providers=[])


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
        open_detector(toy_onnx(batch=3), **arguments)


def test_torch_is_not_imported(toy_onnx) -> None:
    """A whole detection leaves torch and onnx alone."""
    code = (
        "import sys, numpy, ddetr_export;"
        f"found = ddetr_export.open_detector({str(toy_onnx())!r})"
        ".predict([numpy.zeros((20, 20, 3), numpy.uint8)]);"
        "assert len(found[0]) == 4;"
        "print(sorted({'torch', 'onnx', 'ddetr_model'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
