"""Images and videos of any folder, labelled; all detections in one file when that is wanted."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddetr_data.config import DatasetConfig, InferSource
from ddetr_data.detection import Detector, InferenceConfig, RunEvent, find_media, label, media
from ddetr_data.faults import DataError
from ddetr_data.formats import read_kitti
from ddetr_data.images import video
from ddetr_data.types import Category, Detections

SIZE_WH = (80, 64)
MANY = 3_000
# Lists of 2,000 names and sizes take 1 MB, the allocator's slack the rest; their pixels are 24 MB.
ALLOWED_GROWTH_MIB = 6
COLUMNS = re.compile(r"\S+( -?\d+(\.\d+)?){15}")


class StubDetector(Detector):
    """One box in every image, a quarter of it, at the left; its class has a name with a space."""

    categories = (Category(1, "traffic light"), Category(2, "bag"))
    batch_size = 4

    def predict(self, images) -> list[Detections]:
        box = np.array([[-5, 0, 20, 32]], np.float32)
        return [Detections(box, np.array([0.9], np.float32), np.array([1])) for _ in images]


def label_all(folder: Path, results: Path, observers=(), **options):
    dataset = DatasetConfig(infer_data_sources=InferSource(image_dir=str(folder)))
    config = InferenceConfig(**options)
    return label(StubDetector(), dataset, config, results, observers=observers)


@pytest.fixture
def input_dir(tmp_path: Path) -> Path:
    """Two images, one in a sub-folder, with spaces in their names."""
    folder = tmp_path / "in put"
    for name in ("a b.png", "sub/c.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE_WH, "white").save(folder / name)
    return folder


def write_video(path: Path, frames: int = 7, size_wh: tuple[int, int] = SIZE_WH) -> None:
    """Write grey frames, each brighter than the one before."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            image = Image.new("RGB", size_wh, (20 * number,) * 3)
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode(None))


def test_all_detections_in_a_coco_file_and_in_a_table(input_dir: Path, tmp_path: Path) -> None:
    """The COCO file is a data set of the images; both have boxes inside them."""
    label_all(input_dir, tmp_path / "out", coco_json=True, csv=True)
    coco = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == ["a b.png", "sub/c.jpg"]
    assert coco["categories"][0] == {"id": 1, "name": "traffic light"}
    assert [row["bbox"] for row in coco["annotations"]] == [[0, 0, 20, 32]] * 2
    assert [row["image_id"] for row in coco["annotations"]] == [1, 2]
    with (tmp_path / "out" / "detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["file_name"] == "a b.png"
    assert rows[0]["class"] == "traffic light"
    assert float(rows[0]["score"]) == pytest.approx(0.9)
    assert [row for row in (tmp_path / "out").iterdir() if row.name.startswith(".")] == []


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_no_unicode_is_kept_in_json(input_dir: Path, tmp_path: Path) -> None:
    """As older systems wrote them: JSON has the name by which the image opens, a table shows it."""
    name = os.fsdecode(b"caf\xe9.png")
    try:
        Image.new("RGB", SIZE_WH).save(input_dir / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    label_all(input_dir / name, tmp_path / "out", coco_json=True, csv=True)
    coco = json.loads((tmp_path / "out" / "detections.json").read_text("utf-8"))
    assert [image["file_name"] for image in coco["images"]] == [name]
    table = (tmp_path / "out" / "detections.csv").read_text("utf-8")
    assert table.splitlines()[1].startswith(r"caf\udce9.png,")


@pytest.mark.parametrize(
    ("most_bytes", "options", "file"),
    [(5000, {"csv": True}, ""), (12_000, {"coco_json": True}, r"/detections\.json")],
    ids=["while they are found", "while they are joined"],
)
def test_a_disk_too_full_for_all_detections_is_named(
    input_dir: Path, tmp_path: Path, most_bytes: int, options, file: str, largest_file
) -> None:
    """The error says where, and nothing half written stays."""
    for number in range(120):
        Image.new("1", SIZE_WH).save(input_dir / f"{number}.png")
    with largest_file(most_bytes), pytest.raises(OSError, match=rf"File too large: '.*out{file}'"):
        label_all(input_dir, tmp_path / "out", **options)
    assert list((tmp_path / "out").glob("*detections*")) == []
    assert list((tmp_path / "out").glob(".*")) == []


def test_no_detection_is_valid_json_and_an_empty_table(input_dir: Path, tmp_path: Path) -> None:
    """Nothing above the threshold; the images are still listed."""
    label_all(input_dir, tmp_path / "out", conf_threshold=1.0, coco_json=True, csv=True)
    coco = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert (coco["annotations"], len(coco["images"])) == ([], 2)
    assert len((tmp_path / "out" / "detections.csv").read_text().splitlines()) == 1


def test_without_a_wish_there_is_no_such_file(input_dir: Path, tmp_path: Path) -> None:
    """Labels and images alone; a class with a space keeps the columns of KITTI."""
    label_all(input_dir, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "images_annotated",
        "labels",
    ]
    lines = (tmp_path / "out" / "labels" / "a b.txt").read_text().splitlines()
    assert all(COLUMNS.fullmatch(line) for line in lines)


def test_every_frame_of_a_video_is_labelled_and_drawn(input_dir: Path, tmp_path: Path) -> None:
    """As many frames come out as went in, with the box on them; images beside it as ever."""
    av = pytest.importorskip("av")
    write_video(input_dir / "clips" / "one.avi", frames=7)
    summary = label_all(input_dir, tmp_path / "out", csv=True)
    assert (summary.images, summary.frames, summary.detections) == (2, 7, 9)
    labels = sorted((tmp_path / "out" / "labels" / "clips" / "one.avi").iterdir())
    assert [path.name for path in labels] == [f"{number:06d}.txt" for number in range(7)]
    assert read_kitti(labels[0])[0].box_xyxy == (0, 0, 20, 32)
    with av.open(str(tmp_path / "out" / "videos_annotated" / "clips" / "one.avi.mp4")) as made:
        frames = [frame.to_ndarray(format="rgb24") for frame in made.decode(video=0)]
        assert made.streams.video[0].average_rate == 10
    assert len(frames) == 7
    assert frames[0].shape == (64, 80, 3)
    assert np.ptp(frames[0][:, 18:20].astype(int)) > 60  # the box's edge in a colour
    assert "clips/one.avi#6" in (tmp_path / "out" / "detections.csv").read_text()


def test_a_video_of_odd_sides_and_alone_is_no_error(tmp_path: Path) -> None:
    """Its last column and row are left out, since the format has colours for even sides only."""
    write_video(tmp_path / "odd.mkv", frames=2, size_wh=(82, 66))
    summary = label_all(tmp_path / "odd.mkv", tmp_path / "out")
    assert (summary.images, summary.frames) == (0, 2)


def test_a_damaged_video_is_left_out_and_listed(input_dir: Path, tmp_path: Path) -> None:
    """The images are labelled all the same; no half video stays behind."""
    pytest.importorskip("av")
    (input_dir / "bad.mp4").write_bytes(b"not a video" * 100)
    summary = label_all(input_dir, tmp_path / "out")
    assert [path.name for path in summary.unreadable] == ["bad.mp4"]
    assert summary.images == 2
    assert list((tmp_path / "out").rglob("*.part")) == []


def test_without_pyav_a_named_video_says_what_to_install(
    input_dir: Path, monkeypatch, caplog, tmp_path: Path
) -> None:
    """Videos that merely lie in a folder are told of and left out."""
    (input_dir / "clip.mp4").write_bytes(b"")
    monkeypatch.setattr(media, "can_read_videos", lambda: False)
    assert len(find_media([input_dir])[0]) == 2
    assert "ddetr-data[video]" in caplog.text
    with pytest.raises(DataError, match=r"ddetr-data\[video\]"):
        find_media([input_dir / "clip.mp4"])
    monkeypatch.setattr(video, "can_read_videos", lambda: False)
    with (
        pytest.raises(DataError, match=r"ddetr-data\[video\]"),
        video.open_video(input_dir / "clip.mp4"),
    ):
        pass


def test_own_folders_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """Where <folder>/<file> is not unique, results keep the path below the search folder."""
    for name in ("x/cam/1.png", "y/cam/1.png", "y/other/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE_WH).save(tmp_path / name)
    images, _ = find_media([tmp_path], by_own_folder=True)
    relatives = [relative.as_posix() for _, relative in images]
    assert relatives == ["x/cam/1.png", "y/cam/1.png", "other/1.png"]


def test_a_label_without_a_class_has_one_in_the_coco_file(
    input_dir: Path, tmp_path: Path, monkeypatch
) -> None:
    """Readers of COCO JSON look every category_id up among the categories."""
    monkeypatch.setattr(StubDetector, "categories", (Category(7, "bag"),))
    label_all(input_dir, tmp_path / "out", coco_json=True)
    coco = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert coco["categories"] == [{"id": 7, "name": "bag"}, {"id": 1, "name": "class_1"}]
    assert {row["category_id"] for row in coco["annotations"]} == {1}


def test_nothing_readable_at_all_is_an_error(tmp_path: Path) -> None:
    """A run without a result does not end as a success, and leaves no empty table."""
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"not one image or video .*a\.png"):
        label_all(tmp_path / "a.png", tmp_path / "out", csv=True)
    assert not list((tmp_path / "out").glob("*detections*"))


def test_missing_and_empty_paths_are_named(tmp_path: Path) -> None:
    """A path that is not there is an error also beside a good one."""
    with pytest.raises(FileNotFoundError, match="no images"):
        find_media([tmp_path])
    write_video(tmp_path / "a.mp4", frames=1)
    with pytest.raises(FileNotFoundError, match="lost"):
        find_media([tmp_path / "a.mp4", tmp_path / "lost"])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_stays_flat_over_thousands_of_images(tmp_path: Path) -> None:
    """Whatever is kept of an image is a name and a size."""
    source = tmp_path / "in" / "0.png"
    source.parent.mkdir()
    Image.new("RGB", (64, 64), "white").save(source)
    for number in range(1, MANY):
        os.link(source, source.with_name(f"{number}.png"))
    used: dict[int, float] = {}

    def measure(event: RunEvent) -> None:
        if event.kind == "step":
            used[event.step] = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

    label_all(source.parent, tmp_path / "out", [measure], coco_json=True, csv=True)
    assert max(used) == MANY
    assert used[MANY] - used[1000] < ALLOWED_GROWTH_MIB
