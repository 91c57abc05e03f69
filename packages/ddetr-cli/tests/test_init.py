"""`ddetr init`: each layout is known, said, and gives a spec that is checked and trains."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from ddetr_cli.app import main
from ddetr_cli.layouts import LayoutError, find_layout
from ddetr_cli.spec import Experiment, load_spec
from ddetr_data.synthetic import make_dataset

SIZE = (64, 48)  # of the images, width and height
NUM_CLASSES = 2
Build = Callable[[Path], None]


def ddetr(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO set with train, val and test, of which the other layouts are made."""
    folder = tmp_path_factory.mktemp("drawn")
    make_dataset(
        folder,
        num_images={"train": 6, "val": 3, "test": 2},
        image_size_hw=(SIZE[1], SIZE[0]),
        num_classes=NUM_CLASSES,
    )
    return folder


def labels_of(drawn: Path, split: str) -> list[tuple[Path, list[tuple[str, list[float]]]]]:
    """Give each image with its objects: class name, and x, y, width, height."""
    content = json.loads((drawn / "annotations" / f"instances_{split}.json").read_text())
    names = {each["id"]: each["name"] for each in content["categories"]}
    rows: dict[int, list[tuple[str, list[float]]]] = {each["id"]: [] for each in content["images"]}
    for each in content["annotations"]:
        rows[each["image_id"]].append((names[each["category_id"]], each["bbox"]))
    images = drawn / "images" / split
    return [(images / each["file_name"], rows[each["id"]]) for each in content["images"]]


def class_names(drawn: Path) -> list[str]:
    content = json.loads((drawn / "annotations" / "instances_train.json").read_text())
    return [each["name"] for each in content["categories"]]


def yolo_text(objects: list[tuple[str, list[float]]], names: list[str]) -> str:
    width, height = SIZE
    lines = [
        f"{names.index(name)} {(x + w / 2) / width} {(y + h / 2) / height} {w / width} {h / height}"
        for name, (x, y, w, h) in objects
    ]
    return "\n".join(lines) + "\n"


def kitti_text(objects: list[tuple[str, list[float]]]) -> str:
    zeros = "0 0 0 0 0 0 0"
    lines = [f"{name} 0 0 0 {x} {y} {x + w} {y + h} {zeros}" for name, (x, y, w, h) in objects]
    return "\n".join([*lines, f"DontCare -1 -1 -10 1 1 5 5 {zeros}"]) + "\n"


def voc_text(image: Path, objects: list[tuple[str, list[float]]]) -> str:
    boxes = "".join(
        f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{x + 1}</xmin>"
        f"<ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for name, (x, y, w, h) in objects
    )
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
    return f"<annotation><filename>{image.name}</filename>{size}{boxes}</annotation>"


def put(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def copied(image: Path, folder: Path, name: str | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(image, folder / (name or image.name))


def coco_usual(drawn: Path, at: Path) -> None:
    shutil.copytree(drawn, at, dirs_exist_ok=True)


def coco_year(drawn: Path, at: Path) -> None:
    """Folders and files as COCO itself has them, with captions beside them."""
    for split in ("train", "val"):
        shutil.copytree(drawn / "images" / split, at / f"{split}2017")
        text = (drawn / "annotations" / f"instances_{split}.json").read_text()
        put(at / "annotations", f"instances_{split}2017.json", text)
    put(at / "annotations", "captions_val2017.json", '{"images": [], "annotations": []}')


def coco_roboflow(drawn: Path, at: Path) -> None:
    for split, theirs in (("train", "train"), ("val", "valid"), ("test", "test")):
        shutil.copytree(drawn / "images" / split, at / theirs)
        text = (drawn / "annotations" / f"instances_{split}.json").read_text()
        put(at / theirs, "_annotations.coco.json", text)


def coco_one(drawn: Path, at: Path) -> None:
    shutil.copytree(drawn / "images" / "train", at / "pictures")
    put(at, "labels.json", (drawn / "annotations" / "instances_train.json").read_text())


def yolo_usual(drawn: Path, at: Path) -> None:
    names = class_names(drawn)
    for split in ("train", "val"):
        for image, objects in labels_of(drawn, split):
            copied(image, at / "images" / split)
            put(at / "labels" / split, f"{image.stem}.txt", yolo_text(objects, names))
    data = {
        "path": ".",
        "train": "images/train",
        "val": "images/val",
        "names": dict(enumerate(names)),
    }
    put(at, "data.yaml", yaml.safe_dump(data))


def yolo_roboflow(drawn: Path, at: Path) -> None:
    names = class_names(drawn)
    for split, theirs in (("train", "train"), ("val", "valid"), ("test", "test")):
        for image, objects in labels_of(drawn, split):
            copied(image, at / theirs / "images")
            put(at / theirs / "labels", f"{image.stem}.txt", yolo_text(objects, names))
    put(at, "data.yaml", yaml.safe_dump({"train": "../train/images", "names": names}))


def yolo_named_folders(drawn: Path, at: Path) -> None:
    """Splits that data.yaml alone tells."""
    names = class_names(drawn)
    for split, theirs in (("train", "set_a"), ("val", "set_b")):
        for image, objects in labels_of(drawn, split):
            copied(image, at / "images" / theirs)
            put(at / "labels" / theirs, f"{image.stem}.txt", yolo_text(objects, names))
    data = {"path": "../datasets", "train": ["images/set_a"], "val": "images/set_b"}
    put(at, "data.yaml", yaml.safe_dump({**data, "test": "test.txt", "names": names}))


def yolo_bare(drawn: Path, at: Path) -> None:
    """Labels beside the images, and no names."""
    for image, objects in labels_of(drawn, "train"):
        copied(image, at)
        put(at, f"{image.stem}.txt", yolo_text(objects, class_names(drawn)))


def voc_usual(drawn: Path, at: Path) -> None:
    root = at / "VOCdevkit" / "VOC2012"
    for split in ("train", "val"):
        stems = []
        for image, objects in labels_of(drawn, split):
            name = f"{split}_{image.name}"
            copied(image, root / "JPEGImages", name)
            put(root / "Annotations", f"{Path(name).stem}.xml", voc_text(Path(name), objects))
            stems.append(Path(name).stem)
        put(root / "ImageSets" / "Main", f"{split}.txt", "\n".join(stems))


def kitti_usual(drawn: Path, at: Path) -> None:
    for image, objects in labels_of(drawn, "train"):
        copied(image, at / "training" / "image_2")
        put(at / "training" / "label_2", f"{image.stem}.txt", kitti_text(objects))
    for image, _ in labels_of(drawn, "test"):
        copied(image, at / "testing" / "image_2")


def kitti_sequences(drawn: Path, at: Path) -> None:
    """As `convert` reads them: a folder a sequence."""
    for split in ("train", "val"):
        for image, objects in labels_of(drawn, split):
            copied(image, at / f"sequence_{split}" / "images")
            put(at / f"sequence_{split}" / "labels", f"{image.stem}.txt", kitti_text(objects))


# layout -> what builds it, format, images of train, val and test in the spec made by --convert
LAYOUTS = {
    "COCO": (coco_usual, "COCO", (6, 3, 2)),
    "COCO 2017": (coco_year, "COCO", (6, 3, 3)),
    "COCO of Roboflow": (coco_roboflow, "COCO", (6, 3, 2)),
    "COCO, one JSON": (coco_one, "COCO", (5, 1, 1)),
    "YOLO": (yolo_usual, "YOLO", (6, 3, 3)),
    "YOLO of Roboflow": (yolo_roboflow, "YOLO", (6, 3, 2)),
    "YOLO, splits of data.yaml": (yolo_named_folders, "YOLO", (6, 3, 3)),
    "YOLO, labels beside images": (yolo_bare, "YOLO", (5, 1, 1)),
    "VOC": (voc_usual, "VOC", (6, 3, 3)),
    "KITTI": (kitti_usual, "KITTI", (5, 1, 1)),
    "KITTI, sequences": (kitti_sequences, "KITTI", (6, 3, 3)),
}


def images_in(sources: object) -> int:
    return sum(
        len(json.loads(Path(file).read_text())["images"])
        for source in sources  # type: ignore[attr-defined]
        for file in source.json_file
    )


def state_of(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with one for the data."""
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_a_spec_that_is_checked(
    layout: str, drawn: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its format and classes are said, its splits are in the spec, the data stay as they are."""
    build, kind, counts = LAYOUTS[layout]
    build(drawn, folder / "data")
    before = state_of(folder / "data")
    assert ddetr("init", "data", "--convert") == 0
    said = capsys.readouterr().out
    assert f"{kind} labels in data" in said
    if layout != "YOLO, labels beside images":
        assert f"{NUM_CLASSES} classes: " in said
    assert state_of(folder / "data") == before
    dataset = load_spec(Experiment, Path("spec.yaml")).spec.dataset
    sources = (dataset.train_data_sources, dataset.val_data_sources, dataset.test_data_sources)
    assert tuple(map(images_in, sources)) == counts
    assert dataset.num_classes == "auto"
    assert dataset.augmentation.test_random_resize == 64
    # A warning at most: nine drawn images are few, and some objects small.
    assert ddetr("check", "-e", "spec.yaml", "dataset.workers=1") <= 1, capsys.readouterr()


TINY = (
    *("model.backbone=timm:test_resnet", "model.hidden_dim=32", "model.enc_layers=1"),
    *("model.dec_layers=1", "model.dim_feedforward=32", "model.num_queries=10"),
    *("dataset.workers=0", "train.accelerator=cpu", "train.is_dry_run=true"),
)


def test_the_spec_trains(drawn: Path, folder: Path) -> None:
    """A batch of training and of validation, of labels that were converted."""
    pytest.importorskip("torch")
    yolo_usual(drawn, folder / "data")
    assert ddetr("init", "data", "--convert", "-o", "mine.yaml") == 0
    assert (folder / "mine_labels").is_dir()
    assert ddetr("train", "-e", "mine.yaml", *TINY) == 0


def test_labels_that_training_does_not_read_ask_for_the_conversion(
    drawn: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was found is shown, nothing is written, the sentence says what to give."""
    yolo_usual(drawn, folder / "data")
    before = state_of(folder)
    assert ddetr("init", "data") == 2
    said = capsys.readouterr()
    assert "YOLO labels in data" in said.out
    assert "give --convert, which writes COCO JSON of them to spec_labels" in said.err
    assert state_of(folder) == before


def test_a_missing_validation_split_is_told(
    drawn: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --convert the spec trains on all; with it, the same images are chosen each time."""
    coco_one(drawn, folder / "data")
    assert ddetr("init", "data") == 0
    assert "--convert makes one of a tenth" in capsys.readouterr().err
    assert load_spec(Experiment, Path("spec.yaml")).spec.dataset.val_data_sources == ()
    chosen = []
    for name in ("a", "b"):
        assert ddetr("init", "data", "--convert", "-o", f"{name}.yaml") == 0
        content = json.loads(Path(f"{name}_labels", "val-000.json").read_text())
        chosen.append([image["file_name"] for image in content["images"]])
    assert chosen[0] == chosen[1]


def test_nothing_is_overwritten_unasked(
    drawn: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the spec nor the labels of an earlier call."""
    yolo_usual(drawn, folder / "data")
    put(folder, "spec.yaml", "mine: true\n")
    assert ddetr("init", "data", "--convert") == 2
    assert "spec.yaml exists; give --overwrite" in capsys.readouterr().err
    put(folder / "other_labels", "mine.json", "{}")
    assert ddetr("init", "data", "--convert", "-o", "other.yaml") == 2
    assert "other_labels exists; give --overwrite" in capsys.readouterr().err
    assert (folder / "spec.yaml").read_text() == "mine: true\n"
    assert ddetr("init", "data", "--convert", "--overwrite") == 0
    assert "mine: true" not in (folder / "spec.yaml").read_text()


def odd_text(at: Path) -> None:
    put(at, "notes.json", '{"images": 3, "annotations": 4}')
    Image.new("RGB", SIZE).save(at / "a.png")


def odd_elsewhere(at: Path) -> None:
    image = {"id": 1, "file_name": "gone.jpg", "width": 4, "height": 4}
    put(at, "labels.json", json.dumps({"images": [image], "annotations": [], "categories": []}))


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda at: None, "has 0 files, 0 of them images"),
        (odd_text, "notes.json: has no list of images"),
        (odd_elsewhere, "its images are not below the folder"),
        (lambda at: at.rmdir(), "is no folder"),
    ],
)
def test_a_folder_that_is_not_understood_is_one_sentence(
    build: Build, sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what was looked for."""
    build(folder / "data")
    assert ddetr("init", "data") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line
    assert "COCO JSON" in line or "give the one that holds" in line
    assert not (folder / "spec.yaml").exists()


def test_looking_ends(drawn: Path) -> None:
    """So many files and no more, which is told, also where nothing was among them."""
    found = find_layout(drawn, lambda *_: None, most_files=6)
    assert any("only the first 6 files" in why for _, why in found.not_understood)
    with pytest.raises(LayoutError, match="only the first 2 files"):
        find_layout(drawn, lambda *_: None, most_files=2)


def test_a_name_is_no_reference_and_no_line(drawn: Path, folder: Path) -> None:
    """What a folder is called does not change the spec."""
    odd = folder / "data" / "${train.seed}\n# x: 1"
    coco_usual(drawn, odd)
    assert ddetr("init", odd) == 0
    sources = load_spec(Experiment, Path("spec.yaml")).spec.dataset.train_data_sources
    assert sources[0].image_dir == str(odd / "images" / "train")


def test_errors_are_of_one_kind(folder: Path) -> None:
    """A caller can catch them."""
    with pytest.raises(LayoutError, match="looked for"):
        find_layout(folder, lambda *_: None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
@pytest.mark.parametrize("kind", ["KITTI", "VOC"])
def test_class_names_are_read_as_the_conversion_reads_them(
    kind: str, encoding: str, drawn: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In whatever encoding a label file is: a name read otherwise would lose its objects."""
    images = sorted((drawn / "images" / "train").iterdir())[:2]
    name = "Möwe" if kind == "KITTI" else "große Möwe"
    objects = [(name, [4.0, 4.0, 20.0, 20.0])]
    pair = ("image_2", "label_2") if kind == "KITTI" else ("JPEGImages", "Annotations")
    for image in images:
        copied(image, folder / "data" / pair[0])
        text = kitti_text(objects) if kind == "KITTI" else voc_text(image, objects)
        head = f'<?xml version="1.0" encoding="{encoding}"?>' if kind == "VOC" else ""
        ending = ".txt" if kind == "KITTI" else ".xml"
        label = folder / "data" / pair[1] / f"{image.stem}{ending}"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_bytes((head + text).encode(encoding))
    assert ddetr("init", "data", "--convert") == 0, capsys.readouterr()
    files = [Path("spec_labels", f"{split}-000.json") for split in ("train", "val")]
    content = [json.loads(path.read_text("utf-8")) for path in files]
    assert sum(len(each["annotations"]) for each in content) == len(images)
    assert {row["name"] for each in content for row in each["categories"]} == {name}
