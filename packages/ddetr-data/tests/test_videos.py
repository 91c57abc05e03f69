"""Odd videos: held sideways, of uneven pace, damaged, without frames; and where results go."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddetr_data.config import DatasetConfig, InferSource
from ddetr_data.detection import Detector, InferenceConfig, RunEvent, label
from ddetr_data.images import find_videos, open_video
from ddetr_data.types import Category, Detections

av = pytest.importorskip("av")

WIDTH, HEIGHT = 96, 64
MILLISECONDS = 1000
LEFT_HALF = (220, 30, 30)
# As an MP4 header writes it: the first six numbers in 16.16 fixed point.
UPRIGHT = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


class StubDetector(Detector):
    """One box at the left in every image."""

    categories = (Category(1, "bag"),)
    batch_size = 4

    def predict(self, images) -> list[Detections]:
        box = np.array([[0, 0, 20, 32]], np.float32)
        return [Detections(box, np.array([0.9], np.float32), np.array([1])) for _ in images]


def write_video(path: Path, times: list[int]) -> Path:
    """Write a frame at each of those milliseconds: its left half red, the right one black."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:, : WIDTH // 2] = LEFT_HALF
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, MILLISECONDS)
        for time in times:
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts, frame.time_base = time, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def copied(path: Path, target: Path, seen: list[Image.Image]) -> int:
    """Write a video's frames again, as they are, and remember them; gives their number."""
    with open_video(path) as video, video.copied_to(target) as write:
        for frame in video.frames:
            seen.append(frame.image)
            write(frame)
    return len(seen)


def label_all(*entries: Path, results: Path, observers=(), **options):
    source = InferSource(image_dir=tuple(map(str, entries)))
    dataset, config = DatasetConfig(infer_data_sources=source), InferenceConfig(**options)
    return label(StubDetector(), dataset, config, results, observers=observers)


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("matrix", "red_side"),
    [
        ((0, 1, -1, 0), "top"),
        ((0, -1, 1, 0), "bottom"),
        ((-1, 0, 0, -1), "right"),
        ((-1, 0, 0, 1), "right"),
        ((1, 0, 0, -1), "left"),
        ((0, 1, 1, 0), "top"),
    ],
)
def test_frames_are_turned_as_the_camera_was_held(
    tmp_path: Path, matrix: tuple[int, ...], red_side: str
) -> None:
    """What the detector sees and what is written stand as a player shows the video."""
    source = write_video(tmp_path / "phone.mp4", [0, 100])
    a, b, c, d = (value << 16 for value in matrix)
    turned = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    content = source.read_bytes()
    header = content.index(UPRIGHT, content.index(b"tkhd"))
    source.write_bytes(content[:header] + turned + content[header + len(turned) :])
    seen: list[Image.Image] = []
    copied(source, tmp_path / "out.mp4", seen)
    is_turned = matrix[0] == 0
    assert seen[0].size == ((HEIGHT, WIDTH) if is_turned else (WIDTH, HEIGHT))
    red = np.asarray(seen[0])[:, :, 0] > 100
    sides = {"top": red[:9], "bottom": red[-9:], "left": red[:, :9], "right": red[:, -9:]}
    assert sides[red_side].all()
    with av.open(str(tmp_path / "out.mp4")) as made:
        assert next(made.decode(video=0)).to_image().size == seen[0].size


def test_frames_keep_their_times(tmp_path: Path) -> None:
    """A video of uneven pace lasts as long as before; a late beginning becomes 0."""
    source = write_video(tmp_path / "uneven.mkv", [500, 600, 650, 1400, 1500, 3500, 3550])
    assert copied(source, tmp_path / "out.mp4", []) == 7
    expected = [0, 0.1, 0.15, 0.9, 1.0, 3.0, 3.05]
    assert times_of(tmp_path / "out.mp4") == pytest.approx(expected, abs=1e-3)


def test_what_follows_a_damage_is_still_labelled(tmp_path: Path, caplog) -> None:
    """The damaged frames are left out and told of; labels, table and summary agree."""
    source = write_video(tmp_path / "in" / "scratched.mkv", list(range(0, 6000, 100)))
    content = bytearray(source.read_bytes())
    for index in range(len(content) * 2 // 3, len(content) * 5 // 6, 7):
        content[index] ^= 0xFF
    source.write_bytes(content)
    summary = label_all(tmp_path / "in", results=tmp_path / "out", csv=True)
    labels = list((tmp_path / "out" / "labels" / "scratched.mkv").iterdir())
    rows = (tmp_path / "out" / "detections.csv").read_text().splitlines()
    assert 0 < summary.frames < 60
    assert len(labels) == len(rows) - 1 == summary.detections == summary.frames
    assert "scratched.mkv has" in caplog.text
    assert summary.unreadable == ()


def test_videos_of_one_name_in_two_folders_keep_their_folders(tmp_path: Path) -> None:
    """Neither labels nor annotated videos overwrite each other; linked folders are searched."""
    for name in ("cam1/a.mp4", "cam2/a.mp4", "far/b.mkv"):
        write_video(tmp_path / name, [0])
    (tmp_path / "cam2" / "linked").symlink_to(tmp_path / "far")
    found = find_videos([tmp_path / "cam1", tmp_path / "cam2"])
    relatives = [relative.as_posix() for _, relative in found]
    assert relatives == ["cam1/a.mp4", "cam2/a.mp4", "cam2/linked/b.mkv"]


def test_annotated_videos_never_have_one_name(tmp_path: Path) -> None:
    """An .avi gets .mp4 behind its name, where an .mp4 of that name may lie already."""
    for name in ("a.avi", "a.avi.mp4"):
        write_video(tmp_path / "in" / name, [0])
    label_all(tmp_path / "in", results=tmp_path / "out")
    made = sorted(path.name for path in (tmp_path / "out" / "videos_annotated").iterdir())
    assert made == ["a.avi.mp4", "a.avi.mp4.mp4"]


def test_a_video_of_the_longest_name_is_labelled(tmp_path: Path) -> None:
    """No ending fits behind 255 bytes: the beginning of the name and a digest stand for it."""
    write_video(tmp_path / "in" / ("x" * 251 + ".avi"), [0])
    label_all(tmp_path / "in", results=tmp_path / "out")
    (made,) = (tmp_path / "out" / "videos_annotated").iterdir()
    assert made.name.startswith("x" * 200)
    assert made.suffix == ".mp4"


def test_a_full_disk_is_no_damaged_video(tmp_path: Path, largest_file) -> None:
    """The error names the file that cannot be written, and the run ends."""
    source = write_video(tmp_path / "a.mp4", list(range(0, 2000, 100)))
    with largest_file(500), pytest.raises(OSError, match=r"File too large: '.*out\.mp4'"):
        copied(source, tmp_path / "out.mp4", [])
    assert list(tmp_path.glob(".*")) == []
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_the_frames_of_a_video_are_counted_while_it_is_labelled(
    tmp_path: Path, ending: str
) -> None:
    """Before the first batch and after each; all frames are known from the start."""
    write_video(tmp_path / "in" / f"a.{ending}", list(range(0, 1000, 100)))
    told: list[RunEvent] = []
    summary = label_all(tmp_path / "in", results=tmp_path / "out", observers=[told.append])
    steps = [(each.message, each.step, each.total_steps) for each in told if each.kind == "step"]
    assert steps == [(f"frames of a.{ending}", done, 10) for done in (0, 4, 8, 10)]
    assert (summary.videos, summary.frames) == (1, 10)


def test_the_extent_names_what_was_there(tmp_path: Path) -> None:
    """Videos alone are no images, images alone no videos."""
    write_video(tmp_path / "films" / "a.mp4", [0, 100])
    (tmp_path / "both").mkdir()
    write_video(tmp_path / "both" / "a.mp4", [0])
    for name in ("one.png", "two.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / "both" / name)

    def extent(*entries: Path) -> str:
        return label_all(*entries, results=tmp_path / "out").extent

    assert extent(tmp_path / "films") == "1 video (2 frames)"
    assert extent(tmp_path / "both" / "one.png") == "1 image"
    assert extent(tmp_path / "both") == "2 images, 1 video (1 frame)"
