"""One set with every fault that has a rule short of refusal: checked, trained on and scored."""

from __future__ import annotations

import copy
import json
import math
import random
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from ddetr_data.check import CHECK_RULES, CheckOptions, check_dataset
from ddetr_data.config import AugmentationConfig, DataSource
from ddetr_data.detection import Detector, add_detections
from ddetr_data.images import PreprocessConfig, pad_batch, preprocess
from ddetr_data.loading import open_sources
from ddetr_data.scoring import CocoScorer
from ddetr_data.torch import DetectionDataset, EvalTransform, TrainTransform, collate
from ddetr_data.types import Detections

WIDTH, HEIGHT = 80, 60
GOOD_BOX = [10.0, 12.0, 30.0, 20.0]
NAN, INF = math.nan, math.inf
SMALL = AugmentationConfig(
    scales=[32, 48],
    train_random_resize=[32],
    train_random_crop_min=16,
    train_random_crop_max=32,
    random_resize_max_size=64,
)
# Values that one field of an annotation may have instead of a good one, and whether it is kept.
ODD_ANNOTATIONS: list[tuple[str, object, bool]] = [
    ("bbox", None, False), ("bbox", [], False), ("bbox", [1, 2, 3], False),
    ("bbox", [1, 2, 3, 4, 5], False), ("bbox", "box", False), ("bbox", {"x": 1}, False),
    ("bbox", [NAN, 1, 2, 3], False), ("bbox", [1, INF, 2, 3], False),
    ("bbox", [1, None, 2, 3], False), ("bbox", [10**400, 1, 2, 3], False),
    ("bbox", ["a", 1, 2, 3], False), ("bbox", ["1e400", 1, 2, 3], False),
    ("bbox", [True, True, True, True], False), ("bbox", [[1, 2, 3, 4]], False),
    ("bbox", [1e308] * 4, False), ("bbox", [-1e308, 0, 1e308, 9], False),
    ("bbox", [20, 20, -5, -5], False), ("bbox", [20, 20, 0, 5], False),
    ("bbox", [500, 1, 5, 5], False), ("bbox", [0, 0, 1e6, 5], False),
    ("bbox", [0.1, 0.1, 0.5, 0.5], False), ("bbox", ["10", "12", "30", "20"], True),
    ("bbox", [60, 40, 50, 50], True), ("bbox", [-20, -20, 50, 50], True),
    ("category_id", None, False), ("category_id", "1", True), ("category_id", 2.0, True),
    ("image_id", 999, False), ("image_id", None, False), ("image_id", "nowhere", False),
    ("image_id", [1], False), ("image_id", {"a": 1}, False), ("image_id", "1", True),
    ("area", None, True), ("area", NAN, True), ("area", "400", True), ("area", -1, True),
    ("area", 10**400, True), ("area", [1], True),
    ("iscrowd", None, True), ("iscrowd", "0", True), ("iscrowd", 7, True), ("iscrowd", [0], True),
    ("id", None, True), ("id", "x", True), ("id", 2**70, True), ("id", 1.5, True),
    ("id", [1], True), ("segmentation", {"counts": "x"}, True), ("segmentation", None, True),
]  # fmt: skip

EXPECTED = {
    "annotation_without_category", "annotation_without_id", "animated_image",
    "category_id_gaps", "category_id_zero", "clipped_box", "cmyk_image", "crowd", "deep_image",
    "filled_area", "filled_image_size", "filled_is_crowd", "grey_image", "huge_box",
    "image_without_file_name", "image_without_id", "image_without_objects", "inverted_box",
    "long_file_name", "malformed_box", "misnamed_image", "missing_box",
    "more_objects_than_queries", "not_finite_box", "odd_category_name", "odd_encoding",
    "odd_file_name", "other_image_size", "outlined_box", "outside_box", "outside_file_name",
    "palette_image",
    "repeated_annotation", "repeated_category", "repeated_image", "repeated_key",
    "repeated_box", "resized_image", "rotated_box", "row_not_object", "same_image",
    "normalised_box", "shared_annotation_id",
    "shared_category_name", "text_box", "text_id", "text_image_size", "text_is_crowd",
    "transparent_image", "turned_image", "unknown_image", "unnamed_category", "unused_category",
    "unusable_image_id", "upright_by_exif", "zero_box",
}  # fmt: skip
# Of several files, of files that are nothing else, and of other label formats.
ELSEWHERE = {
    "clashing_image_ids", "same_image_in_splits", "compressed_json", "missing_annotations",
    "no_objects", "dont_care", "label_without_image", "malformed_label_file", "malformed_line",
    "missing_label_file", "odd_label_encoding", "repeated_file", "shared_label_file",
    "unknown_class_number", "ambiguous_line", "ignore_region", "marked_ignore",
    "more_objects_than_detections",
    "unlisted_class", "unmapped_class", "renumbered_class", "unmatched_class",
    "untrained_category", "no_training_objects", "no_validation_objects", "box_below_stride",
    "fewer_images_than_batch", "classes_of_no_use",
}  # fmt: skip


class DirtySet:
    """Writes images and COCO JSON full of faults, and knows what must come out of it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.pixels = np.random.default_rng(seed)
        self.images: list[Any] = []
        self.annotations: list[Any] = []
        self.usable: set[str] = set()  # file names of images that must be trained on
        self.good = 0  # objects that must be kept

    def write(self) -> DataSource:
        """Make everything, in an order that the seed decides."""
        self._add_images()
        for combined in (0, 1, 2, 3):
            for field, value, is_kept in ODD_ANNOTATIONS:
                self._add_odd(field, value, is_kept, combined)
        self.annotations += [None, 5, "row", [], {}, {"id": "lost"}]
        twice = self._annotation(1)
        self.annotations += [twice, copy.deepcopy(twice), {**twice, "bbox": [1, 1, 9, 9]}]
        self.good += 2
        self.annotations += [{**self._annotation(1), "iscrowd": 1}] * 1
        self.annotations += [self._annotation(1) for _ in range(9)]  # more than there are queries
        outline = {"bbox": None, "segmentation": [[10, 12, 40, 12, 40, 32]]}
        self.annotations += [{**self._annotation(1), **outline}]
        self.annotations += [{**self._annotation(1), "attributes": {"rotation": 30.0}}]
        self.good += 12
        self.random.shuffle(self.annotations)
        categories = [{"id": 0, "name": "a"}, {"id": 1}, {"id": "2", "name": "a"}]
        categories += [{"id": 2, "name": "a"}, {"id": 7, "name": 5}, None]
        content = {"annotations": self.annotations, "categories": categories}
        text = json.dumps({"images": self.images, **content})
        text = f'{text[:-1]}, "annotations": {json.dumps([self._annotation(1)])}}}'
        self.good += 1
        (self.folder / "labels.json").write_bytes(text.encode("utf-8-sig"))
        return DataSource(image_dir=self.folder, json_file=self.folder / "labels.json")

    def _add_odd(self, field: str, value: object, is_kept: bool, combined: int) -> None:
        """One annotation with an odd field, and some others that the seed chooses."""
        odd = {field: (value, is_kept)}
        for other, another, also_kept in self.random.sample(ODD_ANNOTATIONS, combined):
            if other != "id":  # rows of one id and equal fields are one row twice
                odd.setdefault(other, (another, also_kept))
        if combined and len(odd) == 1:
            return
        row = self._annotation(1) | {name: found for name, (found, _) in odd.items()}
        self.annotations.append(row)
        self.good += all(kept for _, kept in odd.values())

    def _add_images(self) -> None:
        for name in (
            "first.png",
            "a b.png",
            "\N{GREEK SMALL LETTER ALPHA}.png",
            "x" * 251 + ".png",
        ):
            self._image(name)
        self._image(
            unicodedata.normalize("NFC", "é.png"), listed=unicodedata.normalize("NFD", "é.png")
        )
        self._image("deep/er/a.png", listed="deep\\er\\a.png")
        self._image("deep/b.png", listed="deep/../deep/b.png")
        self._image("absolute.png", listed=str(self.folder / "absolute.png"))
        for mode, ending in (
            ("L", "png"),
            ("CMYK", "jpg"),
            ("P", "gif"),
            ("RGBA", "png"),
            ("1", "png"),
            ("LA", "png"),
        ):
            self._image(f"{mode}.{ending}", mode=mode)
        deep = self.pixels.integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
        self._image("deep16.png", image=Image.fromarray(deep))
        frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue")]
        self._image("moving.gif", image=frames[0], save_all=True, append_images=frames[1:])
        self._image("really.png", ending="jpeg")
        exif = Image.Exif()
        exif[0x0112] = 6
        self._image("turned.jpg", exif=exif)
        self._image("upright.jpg", exif=exif, width=HEIGHT, height=WIDTH)
        self._image("half.png", width=WIDTH * 2, height=HEIGHT * 2)
        self._image("shape.png", width=WIDTH, height=WIDTH)
        self._image("twin.png", content=(self.folder / "first.png").read_bytes())
        for number, size in enumerate((None, "80", 0, -3, NAN, [80], 2**40)):
            self._image(f"size{number}.png", width=size)
        self._image("empty of objects.png", objects=0)
        for number, odd_id in enumerate(("text", 2**53 + 1, -4, "0770")):
            self._image(f"id{number}.png", identity=odd_id)
        self._broken()

    def _broken(self) -> None:
        """Images and rows that must be left out."""
        whole = (self.folder / "first.png").read_bytes()
        hole = bytearray(whole)
        hole[len(whole) // 2 : len(whole) // 2 + 50] = bytes(50)
        contents = {"zero": b"", "cut": whole[:200], "page": b"<html>", "hole": bytes(hole)}
        for name, content in contents.items():
            self._image(f"{name}.png", content=content, is_usable=False)
        for name in (
            "gone.png",
            "nul\x00.png",
            "\ud800.png",
            "y" * 300 + ".png",
            "é" * 3000,
            "deep",
        ):
            self._list(name, self._next_id(), {}, objects=1)
        for odd in ({"id": None}, {"id": True}, {"id": [1]}, {"file_name": None}, {"file_name": 7}):
            self.images.append({"id": self._next_id(), "file_name": "first.png"} | odd)
        self.images += [copy.deepcopy(self.images[0]), None, 3, "row", []]

    def _image(
        self,
        name: str,
        *,
        listed: str | None = None,
        mode: str = "RGB",
        image: Image.Image | None = None,
        content: bytes | None = None,
        ending: str | None = None,
        is_usable: bool = True,
        identity: object = None,
        objects: int = 2,
        **options: Any,
    ) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sizes = {key: options.pop(key) for key in ("width", "height") if key in options}
        if image is None:
            noise = self.pixels.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            image = Image.fromarray(noise).convert(mode)
        image.save(path, ending, **options)
        if content is not None:
            path.write_bytes(content)
        self._list(listed or name, identity or self._next_id(), sizes, objects)
        if is_usable:
            self.usable.add(listed or name)
            self.good += objects

    def _list(self, name: str, identity: object, sizes: dict[str, Any], objects: int) -> None:
        size = {"width": WIDTH, "height": HEIGHT, **sizes}
        self.images.append({"id": identity, "file_name": name, **size})
        self.annotations += [self._annotation(identity) for _ in range(objects)]

    def _next_id(self) -> int:
        return len(self.images) + 1

    def _annotation(self, image_id: object) -> dict[str, Any]:
        row = {"id": 10_000 + self.random.randrange(10**9), "image_id": image_id, "category_id": 1}
        return {**row, "bbox": list(GOOD_BOX), "area": 600.0, "iscrowd": 0}


@pytest.fixture(params=range(4))
def dirty(request: pytest.FixtureRequest, tmp_path: Path) -> DirtySet:
    """Four orders of the same faults, with other combinations."""
    made = DirtySet(tmp_path / "set", request.param)
    made.folder.mkdir()
    return made


def test_every_fault_is_reported_and_none_stops_the_pass(dirty: DirtySet) -> None:
    """The report names file, location and count of each; nothing short of an image is refused."""
    source = dirty.write()
    report = check_dataset(
        {"train": [source]}, CheckOptions(num_classes=8, num_queries=10, max_dropped=1)
    )
    assert EXPECTED | {"missing_image", "unreadable_image"} == report.counts.keys()
    for found in report.findings:
        assert found.count >= len(found.locations) >= 1
        assert found.file
    refused = {found.fault for found in report.findings if found.rule.action == "refuse"}
    assert refused == {"missing_image", "unreadable_image"}
    assert json.loads(json.dumps(report.to_dict()))["exit_status"] == 2
    for row in report.rows():
        "".join(row).encode("utf-8")  # can be shown and written


@pytest.mark.parametrize("dataset_type", ["serialized", "default"])
def test_training_and_scoring_use_exactly_what_is_good(
    dirty: DirtySet, tmp_path: Path, dataset_type: Any
) -> None:
    """No crash in mid-epoch, no good row lost, no NaN, and the truth scores one."""
    loaded = open_sources(
        [dirty.write()],
        num_classes=8,
        dataset_type=dataset_type,
        corrupt_images="skip",
        cache_dir=tmp_path / "cache",
    )
    assert {record.file_name for record in loaded.images} == dirty.usable
    assert sum(len(record.labels) for record in loaded.images) == dirty.good
    for transform in (TrainTransform(SMALL), EvalTransform(PreprocessConfig(shortest_edge=32))):
        dataset = DetectionDataset(loaded, transform)  # corrupt_images is error: none may be left
        for epoch in range(2):
            dataset.set_epoch(epoch)
            for batch in DataLoader(dataset, 5, collate_fn=collate, num_workers=epoch):
                assert torch.isfinite(batch.images).all()
                for target in batch.targets:
                    boxes = target["boxes"]
                    assert torch.isfinite(boxes).all()
                    assert torch.isfinite(target["area"]).all()
                    assert ((boxes >= 0) & (boxes <= 1)).all()
                    assert (boxes[:, 2:] > 0).all()
                    assert (target["area"] > 0).all()
                    assert set(target["labels"].tolist()) <= {1, 2}
    truth = {record.path: record for record in loaded.images}

    class Oracle(Detector):
        batch_size = 4
        categories = loaded.categories

        def predict(self, images: Sequence[Any]) -> list[Detections]:
            pad_batch([preprocess(image, PreprocessConfig(shortest_edge=32)) for image in images])
            return [self._answer(truth[image]) for image in images]

        def _answer(self, record: Any) -> Detections:
            boxes = record.boxes_xywh + np.pad(record.boxes_xywh[:, :2], ((0, 0), (2, 0)))
            keep = ~record.is_crowd
            scores = np.linspace(0.9, 0.5, keep.sum(), dtype=np.float32)
            return Detections(boxes[keep].astype(np.float32), scores, record.labels[keep])

    scorer = CocoScorer(loaded)
    add_detections(scorer, Oracle(), loaded.images)
    scores = scorer.score()
    assert scores.overall["AP"] == pytest.approx(1.0)


def test_every_rule_short_of_refusal_is_in_the_dirty_set() -> None:
    """A rule that is added later must be added here too, or be named as tested elsewhere."""
    rules = {name for name, rule in CHECK_RULES.items() if rule.action != "refuse"}
    assert rules - ELSEWHERE == EXPECTED
