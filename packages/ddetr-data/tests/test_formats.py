"""YOLO, Pascal VOC and KITTI against COCO, both ways."""

import json
import unicodedata

import pytest
from PIL import Image

from ddetr_data.conversion_config import ConvertConfig
from ddetr_data.convert import convert
from ddetr_data.faults import DataError
from ddetr_data.formats import (
    YoloReader,
    format_yolo_line,
    read_classmap,
    read_kitti,
    read_voc_rows,
)
from ddetr_data.images import ImageHeader

SIZE_WH = (64, 48)
HEADER = ImageHeader(SIZE_WH, orientation=1)
VOC = """<annotation><size><width>1</width><height>1</height></size>{}</annotation>"""
OBJECT = """<object><name>{}</name><difficult>0</difficult>
<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"""


def yolo_rows(tmp_path, text):
    path = tmp_path / "a.txt"
    path.write_text(text)
    return list(YoloReader(("cat", "dog"))(path, HEADER))


def test_yolo_box_is_in_pixels(tmp_path):
    """Class, centre and size become a name and corners; a score is ignored."""
    first, second = yolo_rows(tmp_path, "0 0.5 0.5 0.25 0.5\n\n1 0.25 0.25 0.5 0.5 0.9\n")
    assert (first.name, first.box_xyxy, first.fault) == ("cat", (24, 12, 40, 36), "")
    assert (second.name, second.box_xyxy) == ("dog", (0, 0, 32, 24))


def test_yolo_polygon_becomes_its_box(tmp_path):
    """Segmentation labels give the box around their corners."""
    (row,) = yolo_rows(tmp_path, "1 0.25 0.5 0.75 0.25 0.5 1.0\n")
    assert row.box_xyxy == (16, 12, 48, 48)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("2 0.5 0.5 0.1 0.1", "unknown_class_number"),
        ("-1 0.5 0.5 0.1 0.1", "unknown_class_number"),
        ("0.5 0.5 0.5 0.1 0.1", "malformed_line"),
        ("0 0.5 0.5 0.1", "malformed_line"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "malformed_line"),
        ("cat 0.5 0.5 0.1 0.1", "malformed_line"),
        ("nan 0.5 0.5 0.1 0.1", "malformed_line"),
    ],
)
def test_bad_yolo_line_is_a_fault_with_its_location(tmp_path, line, fault):
    """A line that cannot be an object is named file:line, and the next line is still read."""
    bad, good = yolo_rows(tmp_path, f"{line}\n0 0.5 0.5 0.1 0.1\n")
    assert (bad.fault, bad.where) == (fault, f"{tmp_path}/a.txt:1")
    assert good.fault == ""


def test_yolo_line_reads_back(tmp_path):
    """Written fractions give the box again to a ten-thousandth of a pixel."""
    (row,) = yolo_rows(tmp_path, format_yolo_line(1, [3.3, 4.7, 20.1, 30.9], SIZE_WH))
    assert row.box_xyxy == pytest.approx((3.3, 4.7, 23.4, 35.6), abs=1e-4)


def test_voc_pixels_count_from_one(tmp_path):
    """1-based corners with both ends inside become 0-based ones with the end outside."""
    path = tmp_path / "a.xml"
    path.write_text(
        VOC.format(OBJECT.format(" cat ", 1, 1, 64, 48) + OBJECT.format("dog", 5.5, 6, 7, 8))
    )
    first, second = read_voc_rows(path, HEADER)
    assert (first.name, first.box_xyxy) == ("cat", (0, 0, 64, 48))
    assert (second.name, second.box_xyxy) == ("dog", (4.5, 5, 7, 8))


def test_broken_voc_is_a_fault(tmp_path):
    """A corner that is missing or no number, and a file without XML, are told with a location."""
    path = tmp_path / "a.xml"
    path.write_text(
        VOC.format(OBJECT.format("cat", "one", 1, 2, 2) + "<object><name>x</name></object>")
    )
    assert [(row.where, row.fault) for row in read_voc_rows(path, HEADER)] == [
        (f"{path}: object 1", "malformed_line"),
        (f"{path}: object 2", "malformed_line"),
    ]
    path.write_text("<annotation>")
    assert [row.fault for row in read_voc_rows(path, HEADER)] == ["malformed_label_file"]


def test_difficult_voc_objects_are_objects(tmp_path):
    """COCO has no mark for them; they are kept, not lost."""
    path = tmp_path / "a.xml"
    objects = [OBJECT.format("cat", 1, 1, 9, 9), OBJECT.format("dog", 2, 2, 9, 9)]
    path.write_text(VOC.format(objects[0] + objects[1].replace("t>0<", "t>1<")))
    assert [row.name for row in read_voc_rows(path, HEADER)] == ["cat", "dog"]


@pytest.mark.parametrize("encoding", ["GB2312", "nonsense"])
def test_voc_in_an_encoding_that_xml_readers_lack_is_a_fault(tmp_path, encoding):
    """The conversion goes on, and names the file."""
    path = tmp_path / "a.xml"
    path.write_text(f'<?xml version="1.0" encoding="{encoding}"?><annotation/>')
    assert [row.fault for row in read_voc_rows(path, HEADER)] == ["malformed_label_file"]


def make_images(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE_WH).save(folder / name)


def read_tables(summary):
    return [json.loads(path.read_text()) for fold in summary.folds for path in fold.json_files]


def test_voc_folder_becomes_coco(tmp_path):
    """Classes keep their names, ids go in reverse alphabetical order, sizes come from images."""
    make_images(tmp_path / "voc/JPEGImages", "1.jpg")
    (tmp_path / "voc/Annotations").mkdir()
    objects = OBJECT.format("cat", 11, 11, 20, 30) + OBJECT.format("dog", 1, 1, 4, 4)
    (tmp_path / "voc/Annotations/1.xml").write_text(VOC.format(objects))
    summary = convert(
        ConvertConfig(
            format="voc_to_coco",
            input_source=tmp_path / "voc",
            image_dir_name="JPEGImages",
            label_dir_name="Annotations",
            results_dir=tmp_path / "out",
        )
    )
    (table,) = read_tables(summary)
    assert table["categories"] == [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    assert [(row["category_id"], row["bbox"]) for row in table["annotations"]] == [
        (2, [10, 10, 10, 20]),
        (1, [0, 0, 4, 4]),
    ]
    assert (table["images"][0]["width"], table["images"][0]["height"]) == SIZE_WH


def write_coco(tmp_path, annotations, names=("1.jpg", "sub/1.jpg", "sub/1.png")):
    make_images(tmp_path / "images", *names)
    images = [
        {"id": number, "file_name": name, "width": SIZE_WH[0], "height": SIZE_WH[1]}
        for number, name in enumerate(names, start=1)
    ]
    categories = [{"id": 3, "name": "cat"}, {"id": 7, "name": "big dog"}]
    table = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "coco.json").write_text(json.dumps(table))


def annotation(number, image, category, bbox, crowd=0):
    row = {"id": number, "image_id": image, "category_id": category, "bbox": bbox}
    return {**row, "area": bbox[2] * bbox[3], "iscrowd": crowd}


def export(tmp_path, target, **options):
    config = ConvertConfig(
        format=f"coco_to_{target}",
        input_source=tmp_path / "coco.json",
        data_root=tmp_path / "images",
        results_dir=tmp_path / target,
        **options,
    )
    return convert(config)


ROWS = (
    annotation(1, 1, 3, [1.25, 2.5, 10.3, 20.1]),
    annotation(2, 1, 7, [5, 6, 7, 8]),
    annotation(3, 3, 3, [0, 0, 64, 48]),
)


def test_coco_becomes_kitti(tmp_path):
    """Each image has its label file, images that differ in ending alone too; crowds are counted."""
    write_coco(tmp_path, [*ROWS, annotation(4, 2, 3, [0, 0, 9, 9], crowd=1)])
    summary = export(tmp_path, "kitti")
    first = read_kitti(tmp_path / "kitti/labels/1.txt")
    assert [(item.name, item.box_xyxy) for item in first] == [
        ("cat", (1.25, 2.5, 11.55, 22.6)),
        ("big_dog", (5, 6, 12, 14)),
    ]
    assert read_kitti(tmp_path / "kitti/labels/sub/1.jpg.txt") == []
    assert len(read_kitti(tmp_path / "kitti/labels/sub/1.png.txt")) == 1
    assert summary.kept == {"cat": 2, "big dog": 1}
    assert summary.dropped == {"crowd": {"cat": 1}}
    with pytest.raises(DataError, match="1 x crowd"):
        export(tmp_path, "kitti", strict=True)


def test_kitti_round_trip_keeps_every_box(tmp_path):
    """COCO to KITTI and back gives the same boxes exactly."""
    write_coco(tmp_path, ROWS)  # two images differ in their ending alone
    export(tmp_path, "kitti")
    (tmp_path / "map.json").write_text(json.dumps({"cat": "cat", "big_dog": "big dog"}))
    back = convert(
        ConvertConfig(
            input_source=tmp_path,
            image_dir_name="images",
            label_dir_name="kitti/labels",
            mapping_path=tmp_path / "map.json",
            results_dir=tmp_path / "back",
            num_shards=1,
        )
    )
    (table,) = read_tables(back)
    assert [row["bbox"] for row in table["annotations"]] == [row["bbox"] for row in ROWS]


def test_yolo_round_trip_keeps_classes_and_boxes(tmp_path):
    """COCO to YOLO and back keeps names, their order, and boxes to a hundredth of a pixel."""
    write_coco(tmp_path, ROWS)  # two images differ in their ending alone
    exported = export(tmp_path, "yolo")
    assert exported.classmap.read_text() == "cat\nbig dog\n"
    back = convert(
        ConvertConfig(
            format="yolo_to_coco",
            input_source=tmp_path,
            image_dir_name="images",
            label_dir_name="yolo/labels",
            classmap=exported.classmap,
            results_dir=tmp_path / "back",
            num_shards=1,
        )
    )
    (table,) = read_tables(back)
    assert [row["name"] for row in table["categories"]] == ["cat", "big dog"]
    for found, expected in zip(table["annotations"], ROWS, strict=True):
        assert found["bbox"] == pytest.approx(expected["bbox"], abs=0.01)


@pytest.mark.parametrize("text", ["1 1 person 0 0 0 4 5 20 30 0 0 0 0 0 0 0", "Car" + " 1" * 14])
def test_labels_of_which_nothing_is_left_are_refused(tmp_path, caplog, text):
    """Another kind of KITTI lines, or classes without a mapping, would train on background."""
    # fault 26
    make_images(tmp_path, "1.jpg")
    (tmp_path / "1.txt").write_text(f"{text}\n")
    config = ConvertConfig(input_source=tmp_path, results_dir=tmp_path / "out")
    with pytest.raises(DataError, match=r"no object is left.*nothing is written"):
        convert(config)
    assert not (tmp_path / "out").exists()
    (tmp_path / "1.txt").write_text("DontCare" + " 1" * 14)
    assert convert(config).annotations == 0
    assert caplog.text == ""


def test_an_image_under_two_ids_has_one_label_file_with_all_objects(tmp_path):
    """Its own name is no clash, and the second id does not overwrite the first."""
    names = ("1.jpg", "1.jpg", "2.jpg")
    write_coco(tmp_path, [annotation(n, n, 3, [n, 4, 20, 16]) for n in (1, 2, 3)], names)
    export(tmp_path, "kitti")
    found = read_kitti(tmp_path / "kitti/labels/1.txt")
    assert [item.box_xyxy for item in found] == [(1, 4, 21, 20), (2, 4, 22, 20)]
    assert len(read_kitti(tmp_path / "kitti/labels/2.txt")) == 1


def test_categories_of_one_name_are_one_class(tmp_path):
    """YOLO's list of classes names each once, and can be read again."""
    write_coco(tmp_path, [annotation(n, 1, c, [n, 4, 20, 16]) for n, c in ((1, 3), (2, 7), (3, 9))])
    table = json.loads((tmp_path / "coco.json").read_text())
    table["categories"].insert(1, {"id": 9, "name": "cat"})
    (tmp_path / "coco.json").write_text(json.dumps(table))
    summary = export(tmp_path, "yolo")
    assert read_classmap(summary.classmap) == ("cat", "big dog")
    assert summary.kept == {"cat": 2, "big dog": 1}
    lines = (tmp_path / "yolo/labels/1.txt").read_text().splitlines()
    assert [line[0] for line in lines] == ["0", "1", "0"]


def test_labels_are_named_as_the_image_is_on_disk(tmp_path):
    """The JSON has another Unicode form, or backslashes; `convert` finds the labels again."""
    on_disk = (unicodedata.normalize("NFD", "\u00e9.jpg"), "sub/2.jpg")
    write_coco(tmp_path, [annotation(n, n, 3, [n, 4, 20, 16]) for n in (1, 2)], on_disk)
    table = json.loads((tmp_path / "coco.json").read_text())
    table["images"][0]["file_name"] = unicodedata.normalize("NFC", on_disk[0])
    table["images"][1]["file_name"] = "sub\\2.jpg"
    (tmp_path / "coco.json").write_text(json.dumps(table))
    export(tmp_path, "kitti")
    labels = tmp_path / "kitti/labels"
    found = {path.relative_to(labels).as_posix() for path in labels.rglob("*.txt")}
    assert found == {on_disk[0].replace(".jpg", ".txt"), "sub/2.txt"}


def test_exported_boxes_follow_the_image(tmp_path):
    """An image that was resized after labelling, one that is turned, and one that is gone."""
    rows = [annotation(n, n, 3, [10, 4, 20, 16]) for n in (1, 2, 3)]
    write_coco(tmp_path, rows, names=("1.jpg", "2.jpg", "3.jpg"))
    Image.new("RGB", (32, 24)).save(tmp_path / "images/1.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE_WH).save(tmp_path / "images/2.jpg", exif=exif)
    (tmp_path / "images/3.jpg").unlink()
    summary = export(tmp_path, "kitti")
    (first,), (second,), (third,) = (
        read_kitti(tmp_path / f"kitti/labels/{number}.txt") for number in (1, 2, 3)
    )
    assert first.box_xyxy == (5, 2, 15, 10)
    assert second.box_xyxy == (48 - 4 - 16, 10, 48 - 4, 30)
    assert third.box_xyxy == (10, 4, 30, 20)
    assert summary.repaired == {"resized_image": {"": 1}, "turned_image": {"": 1}}


def test_one_label_file_for_two_images_is_counted(tmp_path):
    """Both have its objects, which may be what was meant."""
    make_images(tmp_path, "1.jpg", "1.png")
    (tmp_path / "1.txt").write_text("person 0 0 0 4 5 20 30 0 0 0 0 0 0 0\n")
    summary = convert(ConvertConfig(input_source=tmp_path, results_dir=tmp_path / "out"))
    assert summary.annotations == 2
    assert summary.repaired == {"shared_label_file": {"": 2}}


def test_yolo_without_class_names_is_refused(tmp_path):
    """Numbers alone name nothing, so classmap is asked for."""
    make_images(tmp_path, "1.jpg")
    with pytest.raises(DataError, match="classmap"):
        convert(ConvertConfig(format="yolo_to_coco", input_source=tmp_path, results_dir=tmp_path))


@pytest.mark.parametrize("name", ["/abs/1.jpg", "../1.jpg", "a/../../1.jpg"])
def test_label_files_stay_inside_the_results(tmp_path, name):
    """A file name that leads out of the results folder is refused before anything is written."""
    write_coco(tmp_path, ROWS)
    table = json.loads((tmp_path / "coco.json").read_text())
    table["images"][0]["file_name"] = name
    (tmp_path / "coco.json").write_text(json.dumps(table))
    with pytest.raises(DataError, match=r"1\.jpg"):
        export(tmp_path, "kitti")
    assert not (tmp_path / "kitti").exists()


@pytest.mark.parametrize(
    "content",
    [
        "<html><body>404</body></html>",
        '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;">'
        + "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "&y;" * 10}">' for n in range(9))
        + "]><annotation><object><name>&e8;</name></object></annotation>",
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotation>&x;</annotation>',
    ],
)
def test_xml_that_is_no_annotation_is_a_fault(tmp_path, content):
    """A web page, entities that grow without end, and those that read other files."""
    path = tmp_path / "a.xml"
    path.write_text(content)
    assert [row.fault for row in read_voc_rows(path, HEADER)] == ["malformed_label_file"]


def test_voc_in_a_name_space_and_without_a_class(tmp_path):
    """Name spaces change nothing; an object without a name is a fault, no class called nothing."""
    path = tmp_path / "a.xml"
    objects = OBJECT.format("cat", 1, 1, 9, 9) + OBJECT.format(" ", 1, 1, 9, 9)
    path.write_text(VOC.format(objects).replace("<annotation>", '<annotation xmlns="urn:x">'))
    rows = list(read_voc_rows(path, HEADER))
    assert [(row.name, row.fault) for row in rows] == [("cat", ""), ("", "malformed_line")]


@pytest.mark.parametrize(
    ("stated_wh", "orientation", "fault", "box_xyxy"),
    [
        ((64, 48), 1, "", (10, 20, 30, 40)),
        ((128, 96), 1, "resized_image", (5, 10, 15, 20)),
        ((48, 64), 6, "turned_image", (24, 10, 44, 30)),
        ((100, 41), 1, "other_image_size", (10, 20, 30, 40)),
        ((20, 20), 1, "", (10, 20, 30, 40)),  # its own box does not fit: the size is wrong
        ((0, 0), 1, "", (10, 20, 30, 40)),
    ],
)
def test_voc_boxes_follow_the_image(tmp_path, stated_wh, orientation, fault, box_xyxy):
    """As in COCO files: of a resized copy they are scaled, before an EXIF turn they are turned."""
    path = tmp_path / "a.xml"
    size = "<width>{}</width><height>{}</height>".format(*stated_wh)
    text = VOC.format(OBJECT.format("cat", 11, 21, 30, 40))
    path.write_text(text.replace("<width>1</width><height>1</height>", size))
    stored_wh = SIZE_WH[::-1] if orientation == 6 else SIZE_WH
    rows = list(read_voc_rows(path, ImageHeader(stored_wh, orientation)))
    assert [row.fault for row in rows] == ([fault, ""] if fault else [""])
    assert rows[-1].box_xyxy == pytest.approx(box_xyxy)
