"""Inference over files with any detector: labels, annotated images and a summary."""

import re
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddetr_data.config import DatasetConfig, InferSource
from ddetr_data.detection import Detector, InferenceConfig, kitti_rows, label
from ddetr_data.formats import label_names, read_kitti
from ddetr_data.types import Category, Detections

COLUMNS = re.compile(r"\S+( -?\d+(\.\d+)?){15}")


class StubDetector(Detector):
    """Finds one certain and one doubtful box in every image, the first reaching over the border."""

    categories = (Category(1, "person group"), Category(2, "bag"))
    batch_size = 2

    def __init__(self):
        self.batches = []

    def predict(self, images):
        self.batches.append(len(images))
        return [
            Detections(
                np.array([[-5, 20, 900, 60], [30, 30, 50, 50]], np.float32),
                np.array([0.9, 0.25], np.float32),
                np.array([1, 2]),
            )
            for _ in images
        ]


def write_images(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 64), "white").save(folder / name)


def run(folder, results, detector=None, observers=(), workers=2, **options):
    source = InferSource(image_dir=str(folder))
    dataset = DatasetConfig(infer_data_sources=source, workers=workers)
    detector = detector or StubDetector()
    config = InferenceConfig(**options)
    return detector, label(detector, dataset, config, results, observers=observers)


def test_labels_have_sixteen_columns_and_lie_inside(tmp_path):
    """Every line has 16 columns, no blank in its name, and a box inside the image."""
    write_images(tmp_path / "in", "a.png", "sub/b.jpg")
    _, summary = run(tmp_path / "in", tmp_path / "out", conf_threshold=0.2)
    for name in ("a.txt", "sub/b.txt"):
        lines = (tmp_path / "out/labels" / name).read_text().splitlines()
        assert len(lines) == 2
        assert all(COLUMNS.fullmatch(line) for line in lines)
        group, bag = read_kitti(tmp_path / "out/labels" / name)
        assert (group.name, group.box_xyxy) == ("person_group", (0, 20, 80, 60))
        assert (bag.name, bag.score) == ("bag", 0.25)
    assert (summary.images, summary.detections) == (2, 4)
    assert summary.per_class == {"bag": 2, "person group": 2}


def test_no_score_below_the_threshold_is_written_or_drawn(tmp_path):
    """A detection at the threshold stays, one below it is neither written nor drawn."""
    write_images(tmp_path / "in", "a.png")
    colors = {"person group": "red", "bag": "blue"}
    _, kept = run(tmp_path / "in", tmp_path / "x", conf_threshold=0.25, color_map=colors)
    _, cut = run(tmp_path / "in", tmp_path / "y", conf_threshold=0.26, color_map=colors)
    assert (kept.detections, cut.detections) == (2, 1)
    pixels = [
        Image.open(tmp_path / name / "images_annotated/a.png").getpixel((35, 49)) for name in "xy"
    ]
    assert pixels == [(0, 0, 255), (255, 255, 255)]


def test_each_class_may_have_its_threshold(tmp_path):
    """One that is not named has the usual one; a name that is no class is refused, and no file."""
    write_images(tmp_path / "in", "a.png")
    for written, classes in (
        ({"bag": 0.2}, {"bag", "person group"}),
        ({"bag": 0.26}, {"person group"}),
        ({"default": 1.0, "bag": 0.25}, {"bag"}),
    ):
        _, summary = run(tmp_path / "in", tmp_path / "x", conf_threshold=written)
        assert set(summary.per_class) == classes
    with pytest.raises(ValueError, match=r"inference.conf_threshold names the class 'bags'.*'bag'"):
        run(tmp_path / "in", tmp_path / "y", conf_threshold={"bags": 0.2})
    assert not (tmp_path / "y").exists()


def test_nothing_found_leaves_an_empty_label_file(tmp_path):
    """Every image has its label file and drawing, also without detections."""
    write_images(tmp_path / "in", "a.png")
    run(tmp_path / "in", tmp_path / "out", conf_threshold=1.0)
    assert (tmp_path / "out/labels/a.txt").read_text() == ""
    assert (tmp_path / "out/images_annotated/a.png").is_file()


def test_names_that_differ_in_folder_or_ending_all_have_results(tmp_path):
    """Four images of one stem give four label files and four drawings."""
    names = ["a.jpg", "a.png", "one/a.jpg", "two/a.jpg"]
    write_images(tmp_path / "in", *names)
    run(tmp_path / "in", tmp_path / "out")
    out = tmp_path / "out"
    labels = sorted(p.relative_to(out / "labels").as_posix() for p in out.glob("labels/**/*.txt"))
    assert labels == ["a.jpg.txt", "a.png.txt", "one/a.txt", "two/a.txt"]
    assert all((out / "images_annotated" / name).is_file() for name in names)


def test_label_names_never_clash(tmp_path):
    """Even an image named like another's label file keeps its own."""
    names = label_names([Path("a.jpg"), Path("a.png"), Path("a.jpg.png")])
    assert len(set(names.values())) == 3


def test_label_names_beside_folders_and_of_the_longest_images(tmp_path):
    """A folder a.txt/ beside a.jpg, and names of 255 bytes, leave every image its label file."""
    longest = ["x" * 251 + ending for ending in (".jpg", ".png")]
    relatives = [Path("a.jpg"), Path("a.txt/b.jpg"), *map(Path, longest)]
    names = label_names(relatives)
    assert names[Path("a.jpg")] == Path("a.jpg.txt")
    assert names[Path("a.txt/b.jpg")] == Path("a.txt/b.txt")
    for name in names.values():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert len(set(names.values())) == len(relatives)


def test_images_stream_in_batches_with_progress(tmp_path):
    """The detector sees its batch size, the last batch may be smaller, and progress is told."""
    write_images(tmp_path / "in", *(f"{i}.png" for i in range(5)))
    told = []
    detector, _ = run(tmp_path / "in", tmp_path / "out", observers=[told.append])
    assert detector.batches == [2, 2, 1]
    steps = [(each.step, each.total_steps) for each in told if each.kind == "step"]
    assert steps == [(2, 5), (4, 5), (5, 5)]
    assert told[0].message == "labelling 5 images"
    assert (told[-1].kind, told[-1].metrics) == ("finished", {"images": 5, "detections": 5})


def test_images_of_earlier_batches_are_let_go(tmp_path):
    """However many images there are, no more than two batches are alive at once."""
    write_images(tmp_path / "in", *(f"{i:02d}.png" for i in range(12)))
    detector, references, alive = StubDetector(), [], []

    def predict(images):
        references.extend(weakref.ref(image) for image in images)
        alive.append(sum(reference() is not None for reference in references))
        return StubDetector.predict(detector, images)

    detector.predict = predict
    run(tmp_path / "in", tmp_path / "out", detector)
    assert len(references) == 12
    assert max(alive) <= 2 * detector.batch_size


def test_unreadable_image_is_left_out_and_listed(tmp_path, caplog):
    """A file that does not decode neither stops the run nor vanishes without a word."""
    write_images(tmp_path / "in", "a.png", "c.png")
    (tmp_path / "in/b.png").write_bytes(b"no image")
    _, summary = run(tmp_path / "in", tmp_path / "out")
    assert summary.images == 2
    assert summary.unreadable == (tmp_path / "in/b.png",)
    assert "b.png" in caplog.text


def test_a_bad_colour_fails_before_any_image_is_read(tmp_path):
    """The class and the colour are named and nothing is written."""
    write_images(tmp_path / "in", "a.png")
    with pytest.raises(ValueError, match=r"'bag'.*'nope'"):
        run(tmp_path / "in", tmp_path / "out", color_map={"bag": "nope"})
    assert not (tmp_path / "out").exists()


def test_a_detector_that_loses_images_is_refused(tmp_path):
    """Answers are never matched with the wrong images."""
    write_images(tmp_path / "in", "a.png", "b.png")
    detector = StubDetector()
    detector.predict = lambda images: []
    with pytest.raises(ValueError, match="must answer for 2 images, got 0"):
        run(tmp_path / "in", tmp_path / "out", detector)


@pytest.mark.parametrize("field", ["scores", "boxes_xyxy"])
def test_a_detector_that_gives_nan_is_refused(tmp_path, field):
    """The threshold would leave out all that it finds, and nothing would be told."""
    write_images(tmp_path / "in", "a.png")
    detector = StubDetector()
    answer = detector.predict([0])
    getattr(answer[0], field)[-1] = np.nan
    detector.predict = lambda images: answer
    with pytest.raises(ValueError, match="gives NaN or infinite numbers"):
        run(tmp_path / "in", tmp_path / "out", detector)


def test_a_colour_of_an_unknown_class_is_told_once(tmp_path, caplog):
    """However many images are drawn."""
    write_images(tmp_path / "in", "a.png", "b.png", "c.png", "d.png")
    run(tmp_path / "in", tmp_path / "out", color_map={"pear": "red"})
    assert len({record.getMessage() for record in caplog.records}) == 1
    assert len(caplog.records) <= 2  # when it is prepared, and when files are begun


def test_a_classmap_renames_the_classes(tmp_path):
    """Its lines stand for the ids in their order; another number of lines is an error."""
    write_images(tmp_path / "in", "a.png")
    classmap = tmp_path / "classmap.txt"
    source = InferSource(image_dir=str(tmp_path / "in"), classmap=str(classmap))
    dataset = DatasetConfig(infer_data_sources=source)
    nameless = StubDetector()
    nameless.categories = ()
    for detector in (StubDetector(), nameless):
        classmap.write_text("uno\ndue")
        summary = label(detector, dataset, InferenceConfig(conf_threshold=0), tmp_path / "out")
        assert summary.per_class == {"due": 1, "uno": 1}
    classmap.write_text("uno")
    with pytest.raises(ValueError, match="names 1 classes, the model has 2"):
        label(StubDetector(), dataset, InferenceConfig(), tmp_path / "out")


def test_without_images_the_key_is_named(tmp_path):
    """There is nothing to label."""
    with pytest.raises(ValueError, match=r"dataset\.infer_data_sources\.image_dir"):
        label(StubDetector(), DatasetConfig(), InferenceConfig(), tmp_path)


def test_label_without_a_category_is_kept_under_its_id():
    """An id beyond the classes does not silently vanish."""
    found = Detections(np.array([[0, 0, 4, 4]], np.float32), np.ones(1, np.float32), np.array([9]))
    assert [row.name for row in kitti_rows(found, (), (8, 8))] == ["class_9"]
