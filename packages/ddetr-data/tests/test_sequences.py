"""Sequence folders: what a list means, where file names start, and which label is whose."""

from pathlib import Path

import pytest
from PIL import Image

from ddetr_data.convert import find_sequences, find_unused_labels, list_files, shared_root
from ddetr_data.faults import DataError


def make(folder: Path, *names: str) -> None:
    """A sequence with images/ and labels/, one image a name."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / "images" / name)


def find(source, data_root=None, image_dir_name="images"):
    return find_sequences(
        str(source), data_root=data_root, image_dir_name=image_dir_name, label_dir_name="labels"
    )


def file_names(sequences, root):
    files = list_files(sequences, root, image_extension=None, label_extension=".txt")
    return [file.file_name for file in files]


def test_relative_lines_start_at_data_root_or_beside_the_list(tmp_path):
    """The same list works from its own folder and from a data root elsewhere."""
    make(tmp_path / "here/a")
    make(tmp_path / "there/a")
    (tmp_path / "here/list.txt").write_text("a\n")
    (own,) = find(tmp_path / "here/list.txt")
    (other,) = find(tmp_path / "here/list.txt", data_root=str(tmp_path / "there"))
    assert (own.path, other.path) == (tmp_path / "here/a", tmp_path / "there/a")


def test_a_folder_is_a_list_of_one(tmp_path):
    """input_source may be the sequence itself; file names then start there."""
    make(tmp_path / "a", "0.png")
    sequences = find(tmp_path / "a")
    root = shared_root(sequences, None)
    assert root == tmp_path / "a"
    assert file_names(sequences, root) == ["images/0.png"]


def test_file_names_start_at_the_data_root(tmp_path):
    """With data_root the names do not depend on which sequences are listed."""
    make(tmp_path / "x/a", "0.png")
    (tmp_path / "list.txt").write_text(f"{tmp_path}/x/a\n")
    sequences = find(tmp_path / "list.txt", data_root=str(tmp_path))
    root = shared_root(sequences, str(tmp_path))
    assert file_names(sequences, root) == ["x/a/images/0.png"]


def test_sequence_outside_the_data_root_is_refused(tmp_path):
    """A name that starts with .. would be of no use to a reader of the JSON."""
    make(tmp_path / "x/a", "0.png")
    (tmp_path / "other").mkdir()
    sequences = find(tmp_path / "x/a")
    with pytest.raises(DataError, match="inside data_root"):
        shared_root(sequences, str(tmp_path / "other"))


def test_images_beside_the_sequence_widen_the_root(tmp_path):
    """An image folder that is reached by .. still gives names without it."""
    make(tmp_path / "set", "0.png")
    make(tmp_path / "set/kitti")
    sequences = find(tmp_path / "set/kitti", image_dir_name="../images")
    root = shared_root(sequences, None)
    assert root == tmp_path / "set"
    assert file_names(sequences, root) == ["images/0.png"]


def test_labels_mirror_the_images_folders(tmp_path):
    """An image in a sub-folder has its label in the sub-folder of that name; others are unused."""
    make(tmp_path / "a", "x/0.png", "y/0.png")
    for name in ("x/0.txt", "0.txt"):
        (tmp_path / "a/labels" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "a/labels" / name).touch()
    sequences = find(tmp_path / "a")
    files = list(list_files(sequences, tmp_path, image_extension=None, label_extension=".txt"))
    inside = [file.label.relative_to(tmp_path / "a/labels").as_posix() for file in files]
    assert inside == ["x/0.txt", "y/0.txt"]
    assert find_unused_labels(sequences, files, ".txt") == [tmp_path / "a/labels/0.txt"]


@pytest.mark.parametrize(
    ("content", "text"), [(b"", "one sequence folder a line"), (b"\xff\xfea", "UTF-8")]
)
def test_list_that_names_nothing_is_refused(tmp_path, content, text):
    """An empty list and a binary file are each one clear error."""
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"list\.txt.*{text}"):
        find(tmp_path / "list.txt")


@pytest.mark.parametrize("lines", ["a\na/images\n", "a/images\nb\na\n", "a\nlink\n"])
def test_no_image_is_taken_twice(tmp_path, lines):
    """A folder inside another, or a second name of it, would repeat images."""
    make(tmp_path / "a", "0.png")
    make(tmp_path / "b", "0.png")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "list.txt").write_text(lines)
    with pytest.raises(DataError, match="already, list one of the two"):
        find_sequences(
            str(tmp_path / "list.txt"), data_root=None, image_dir_name=None, label_dir_name=None
        )
    (tmp_path / "list.txt").write_text("a\nb\n")
    assert len(find(tmp_path / "list.txt")) == 2


def test_images_that_differ_in_their_ending_have_labels_that_keep_it(tmp_path):
    """Label files as inference and coco_to_kitti write them are found; one for both is marked."""
    make(tmp_path / "a", "0.jpg", "0.png", "1.jpg", "1.png", "2.jpg")
    for name in ("0.jpg.txt", "0.png.txt", "1.txt", "2.txt", "2.jpg.txt"):
        (tmp_path / "a/labels" / name).write_text("")
    sequences = find(tmp_path / "a")
    files = list(list_files(sequences, tmp_path, image_extension=None, label_extension=".txt"))
    labels = {file.image.name: (file.label.name, file.shares_label) for file in files}
    assert labels == {
        "0.jpg": ("0.jpg.txt", False),
        "0.png": ("0.png.txt", False),
        "1.jpg": ("1.txt", True),
        "1.png": ("1.txt", True),
        "2.jpg": ("2.txt", False),
    }
    assert [path.name for path in find_unused_labels(sequences, files, ".txt")] == ["2.jpg.txt"]
