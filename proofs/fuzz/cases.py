"""The cases: what is damaged how, and which doors it is shown to.

Case number i of a group is a function of the group's name, i and one seed: `--only` makes it again.
"""

from __future__ import annotations

import io
import json
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from proofs.fuzz.mutations import ODD_WORDS, mutate_bytes, mutate_text, mutate_tree
from proofs.record import ROOT

__all__ = ["Case", "Group", "groups"]

SEED = 0
LABELS = {
    "images": [
        {"id": 1, "file_name": "good.png", "width": 40, "height": 30},
        {"id": 2, "file_name": "damaged.png", "width": 40, "height": 30},
    ],
    "categories": [{"id": 1, "name": "circle"}, {"id": 2, "name": "square"}],
    "annotations": [
        {"id": id_, "image_id": 1 + id_ % 2, "category_id": 1 + id_ % 3 % 2, "iscrowd": 0}
        | {"bbox": [4.0 + id_, 5.0, 12.5, 8.0], "area": 100.0}
        for id_ in range(1, 7)
    ],
}
KITTI_ROWS = (
    "circle 0.00 0 -1.57 5.00 6.00 20.00 19.00 1.5 1.6 3.9 1.8 1.4 8.4 0.01\n"
    "square 0.50 1 0.00 1.50 2.50 30.25 28.00 -1 -1 -1 -1000 -1000 -1000 -10\n"
    "DontCare -1 -1 -10 0.00 0.00 10.00 9.00 -1 -1 -1 -1000 -1000 -1000 -10\n"
)
YOLO_ROWS = "0 0.5 0.5 0.25 0.5\n1 0.3 0.4 0.2 0.1\n"
VOC_FILE = """<annotation>
  <filename>damaged.png</filename>
  <size><width>40</width><height>30</height><depth>3</depth></size>
  <object><name>circle</name><difficult>0</difficult>
    <bndbox><xmin>5</xmin><ymin>6</ymin><xmax>20</xmax><ymax>19</ymax></bndbox>
  </object>
  <object><name>square</name><difficult>1</difficult>
    <bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>28</ymax></bndbox>
  </object>
</annotation>
"""
SAVED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "png": ("PNG", {}),
    "jpg": ("JPEG", {"quality": 90}),
    "jfif": ("JPEG", {"progressive": True}),
    "bmp": ("BMP", {}),
    "gif": ("GIF", {}),
    "ppm": ("PPM", {}),
    "pgm": ("PPM", {}),
    "webp": ("WEBP", {}),
    "tif": ("TIFF", {}),
    "tiff": ("TIFF", {"compression": "tiff_lzw"}),
    # Pillow goes by the content, whatever the name says.
    "avif.png": ("AVIF", {}),
    "jp2.png": ("JPEG2000", {}),
    "tga.png": ("TGA", {}),
    "jpegtiff.tif": ("TIFF", {"compression": "jpeg"}),
    "deflate.tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "ico.png": ("ICO", {}),
    "icns.png": ("ICNS", {}),
    "pcx.png": ("PCX", {}),
    "sgi.png": ("SGI", {}),
    "dds.png": ("DDS", {}),
    "eps.png": ("EPS", {}),
    "grey16.png": ("PNG", {}),
}


@dataclass(frozen=True)
class Case:
    """One damaged thing; `write` puts it into a folder of its own."""

    name: str
    doors: tuple[str, ...]
    write: Callable[[Path], None]


@dataclass(frozen=True)
class Group:
    """Cases of one kind, by number."""

    name: str
    make: Callable[[str, random.Random, Path], Case]  # of a name, a generator, the common folder
    whole: int  # cases of the whole proof
    slice: int  # and of its slice

    def cases(self, common: Path, *, is_slice: bool) -> Iterator[Case]:
        """Yield them in order."""
        for number in range(self.slice if is_slice else self.whole):
            yield self.case(number, common)

    def case(self, number: int, common: Path) -> Case:
        """Make one of them."""
        rng = random.Random(f"{SEED}/{self.name}/{number}")
        return self.make(f"{self.name}/{number}", rng, common)


def groups() -> list[Group]:
    """All groups; the slice leaves out the doors that load PyTorch."""
    return [
        Group("odd", _odd_image, len(_odd_images()), 4),
        Group("image", _image, 300, 10),
        Group("coco", _coco, 300, 15),
        Group("kitti", _kitti, 150, 8),
        Group("voc", _voc, 150, 8),
        Group("yolo", _yolo, 150, 8),
        Group("spec", _spec, 500, 25),
        Group("override", _override, 250, 15),
        Group("onnx", _onnx, 150, 8),
        Group("checkpoint", _checkpoint, 80, 0),
    ]


def _image(name: str, rng: random.Random, _common: Path) -> Case:
    kind = rng.choice(sorted(SAVED))
    damage, content = mutate_bytes(_saved(kind), rng)
    ending = kind.rpartition(".")[2]
    return _image_case(f"{name}/{kind}/{damage}", f"damaged.{ending}", content)


def _odd_image(name: str, _rng: random.Random, _common: Path) -> Case:
    number = int(name.rpartition("/")[2])
    kind, file_name, content = _odd_images()[number]
    return _image_case(f"{name}/{kind}", file_name, content)


def _image_case(name: str, file_name: str, content: bytes | None) -> Case:
    def write(folder: Path) -> None:
        _write_good_image(folder)
        if content is None:
            os.mkfifo(folder / "images" / file_name)
        else:
            (folder / "images" / file_name).write_bytes(content)
        labels = json.dumps(LABELS).replace("damaged.png", file_name)
        (folder / "labels.json").write_text(labels, "utf-8")

    doors = ("check", "inference", "serve", "dataset")
    return Case(name, doors if content is not None else doors[:1], write)


@cache
def _odd_images() -> list[tuple[str, str, bytes | None]]:
    """Whole files that are odd in themselves; None is a pipe that nothing writes to."""
    faults = Path(os.environ.get("DDETR_DATA", ROOT.parent / "shared" / "data")) / "faults"
    kept = sorted(faults.glob("*")) if faults.is_dir() else []
    return [
        ("empty", "damaged.png", b""),
        ("page", "damaged.jpg", b"<!DOCTYPE html><html><body>404</body></html>"),
        ("pointer", "damaged.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        ("huge", "damaged.png", _png_of(30_000, 30_000)),
        *((path.stem, "damaged.png", path.read_bytes()) for path in kept),
        ("pipe", "damaged.jpg", None),
        ("tall", "damaged.png", _png_of(1, 99_999_999)),
    ]


def _png_of(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


@cache
def _saved(kind: str) -> bytes:
    """A whole image of that kind, 40 x 30 pixels of noise over a ramp."""
    from PIL import Image

    rng = random.Random(0)
    pixels = bytes((x * 5 + y * 3 + rng.randrange(60)) % 256 for y in range(30) for x in range(120))
    image = Image.frombytes("RGB", (40, 30), pixels)
    if kind == "grey16.png":
        image = Image.frombytes("I;16", (40, 30), rng.randbytes(2400))
    elif kind == "pgm":
        image = image.convert("L")
    elif kind in ("ico.png", "icns.png"):
        image = image.resize((32, 32))
    form, options = SAVED[kind]
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def _write_good_image(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "good.png").write_bytes(_saved("png"))


def _coco(name: str, rng: random.Random, _common: Path) -> Case:
    if rng.random() < 0.2:
        kind, content = mutate_bytes(json.dumps(LABELS).encode(), rng)
    else:
        kind, changed = mutate_tree(LABELS, rng)
        for _ in range(rng.randrange(3)):
            kind, changed = mutate_tree(changed, rng)
        content = json.dumps(changed).encode("utf-8", "surrogatepass")

    def write(folder: Path) -> None:
        _write_good_image(folder)
        (folder / "images" / "damaged.png").write_bytes(_saved("png"))
        (folder / "labels.json").write_bytes(content)
        spec = f"format: coco_to_kitti\ninput_source: {folder}/labels.json\nworkers: 1\n"
        spec += f"image_dir_name: images\nresults_dir: {folder}/results\n"
        (folder / "convert.yaml").write_text(spec, "utf-8")

    return Case(f"{name}/{kind}", ("check", "convert", "dataset"), write)


def _kitti(name: str, rng: random.Random, _common: Path) -> Case:
    return _label_files(name, rng, "kitti", ".txt", KITTI_ROWS)


def _voc(name: str, rng: random.Random, _common: Path) -> Case:
    return _label_files(name, rng, "voc", ".xml", VOC_FILE)


def _yolo(name: str, rng: random.Random, _common: Path) -> Case:
    return _label_files(name, rng, "yolo", ".txt", YOLO_ROWS)


def _label_files(name: str, rng: random.Random, form: str, ending: str, whole: str) -> Case:
    kind, content = mutate_text(whole, rng)

    def write(folder: Path) -> None:
        _write_good_image(folder)
        (folder / "images" / "damaged.png").write_bytes(_saved("png"))
        (folder / form).mkdir()
        (folder / form / f"good{ending}").write_text(whole, "utf-8")
        (folder / form / f"damaged{ending}").write_bytes(content)
        (folder / "classes.txt").write_text("circle\nsquare\n", "utf-8")
        (folder / "mapping.json").write_text('{"circle": "circle", "square": "square"}', "utf-8")
        spec = f"format: {form}_to_coco\ninput_source: {folder}\nimage_dir_name: images\n"
        spec += f"label_dir_name: {form}\nresults_dir: {folder}/results\nworkers: 1\n"
        spec += f"classmap: {folder}/classes.txt\n" if form == "yolo" else ""
        spec += f"mapping_path: {folder}/mapping.json\n" if form == "kitti" else ""
        (folder / "convert.yaml").write_text(spec, "utf-8")

    doors = ("check_convert", "convert", *(("check_kitti",) if form == "kitti" else ()))
    return Case(f"{name}/{kind}", doors, write)


@cache
def _specs() -> list[str]:
    folders = (ROOT / "docs" / "specs", ROOT / "tests" / "specs")
    return [path.read_text("utf-8") for each in folders for path in sorted(each.glob("*.yaml"))]


def _spec(name: str, rng: random.Random, _common: Path) -> Case:
    kind, content = mutate_text(rng.choice(_specs()), rng)

    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "spec.yaml").write_bytes(content)

    return Case(f"{name}/{kind}", ("load_spec", "migrate"), write)


def _override(name: str, rng: random.Random, _common: Path) -> Case:
    key = rng.choice(("train.optim.lr", "model.nheads", "dataset.workers", "results_dir", "train"))
    kind = rng.choice(("value", "key", "deep", "bytes"))
    if kind == "value":
        typed = f"{key}={rng.choice(ODD_WORDS)}".encode()
    elif kind == "key":
        typed = f"{rng.choice(ODD_WORDS)}{key}{rng.choice(ODD_WORDS)}=1".encode()
    elif kind == "deep":
        typed = b"train" + b".a" * rng.choice((3, 300, 3000)) + b"=1"
    else:
        _, typed = mutate_bytes(f"{key}=[1, 2]".encode(), rng)

    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "spec.yaml").write_text("train: {num_epochs: 2}\n", "utf-8")
        (folder / "override.txt").write_bytes(typed)

    return Case(f"{name}/{kind}", ("load_spec",), write)


def _onnx(name: str, rng: random.Random, common: Path) -> Case:
    sources = sorted(common.glob("*.onnx*"))  # in the slice one alone
    return _model(name, rng, rng.choice(sources), "inference")


def _checkpoint(name: str, rng: random.Random, common: Path) -> Case:
    ending, door = rng.choice(
        ((".pth", "import"), (".safetensors", "import"), (".pth", "inference"))
    )
    return _model(name, rng, common / f"checkpoint{ending}", door)


def _model(name: str, rng: random.Random, source: Path, door: str) -> Case:
    kind, content = mutate_bytes(source.read_bytes(), rng)

    def write(folder: Path) -> None:
        _write_good_image(folder)
        ending = source.name.partition(".")[2]
        (folder / f"model.{ending}").write_bytes(content)

    return Case(f"{name}/{kind}", (door,), write)
