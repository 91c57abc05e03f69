"""Finding images: folders, files and lists, with results' names that never clash."""

import os
from pathlib import Path

import pytest

from ddetr_data.images import IMAGE_ENDINGS, find_images, has_image_ending


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def relatives(found) -> list[str]:
    return [relative.as_posix() for _, relative in found]


def test_folder_is_searched_with_its_subfolders(tmp_path):
    """All endings in any case are found, sorted; other and hidden files are not."""
    touch(tmp_path, "b.PNG", "a.jpg", "c.jfif", "sub/deep/c.TiFF")
    touch(tmp_path, "notes.txt", ".hidden.jpg", ".t/x.jpg")
    assert relatives(find_images(tmp_path)) == ["a.jpg", "b.PNG", "c.jfif", "sub/deep/c.TiFF"]


def test_string_file_and_list_are_alike(tmp_path):
    """A string is one path, not a list of its letters."""
    touch(tmp_path, "a.jpg")
    path = tmp_path / "a.jpg"
    expected = [(path, Path("a.jpg"))]
    for given in (str(tmp_path), tmp_path, str(path), [str(path)], [tmp_path, path]):
        assert find_images(given) == expected


def test_equal_names_in_several_folders_keep_their_folders(tmp_path):
    """Two folders of a list do not overwrite each other's results."""
    touch(tmp_path, "cam1/img/a.jpg", "cam2/img/a.jpg")
    found = find_images([tmp_path / "cam1" / "img", tmp_path / "cam2" / "img"])
    assert relatives(found) == ["cam1/img/a.jpg", "cam2/img/a.jpg"]


@pytest.mark.parametrize("name", ["with blank.jpg", "ünï.jpg", "cafe\u0301.jpg", "a%20#b.jpg"])
def test_odd_names_are_found(tmp_path, name):
    """Blanks, non-ASCII letters in either normal form and signs are part of the name."""
    touch(tmp_path, name)
    assert relatives(find_images(tmp_path)) == [name]


def test_linked_folders_are_followed_once(tmp_path):
    """A link to a folder is searched, a link back up does not loop."""
    touch(tmp_path, "real/a.jpg", "data/b.jpg")
    os.symlink(tmp_path / "real", tmp_path / "data" / "linked")
    os.symlink(tmp_path / "data", tmp_path / "data" / "loop")
    assert relatives(find_images(tmp_path / "data")) == ["b.jpg", "linked/a.jpg"]


def test_a_folder_with_two_names_is_searched_under_both(tmp_path):
    """Links beside each other are no circle; labels may name the images by either."""
    touch(tmp_path, "real/a.jpg")
    (tmp_path / "data").mkdir()
    for name in ("first", "second"):
        os.symlink(tmp_path / "real", tmp_path / "data" / name)
    os.symlink(tmp_path / "data", tmp_path / "real" / "up")
    assert relatives(find_images(tmp_path / "data")) == ["first/a.jpg", "second/a.jpg"]


def test_every_kind_that_can_be_read_is_found(tmp_path):
    """One list says what is an image, in folders and by name."""
    names = sorted(f"a{ending}" for ending in IMAGE_ENDINGS)
    touch(tmp_path, *names)
    assert relatives(find_images(tmp_path)) == names
    assert {".jfif", ".avif", ".jp2", ".tga"} < IMAGE_ENDINGS
    assert all(has_image_ending(name.upper()) for name in names)


def test_images_of_other_kinds_are_counted_and_told_once(tmp_path, caplog):
    """A folder of a phone's photos does not just look smaller than it is."""
    touch(tmp_path, "a.jpg", "b.heic", "sub/c.HEIC", "d.svg", "notes.txt", "e.mp4")
    assert relatives(find_images(tmp_path)) == ["a.jpg"]
    (told,) = caplog.messages
    assert "files=3 are images of kinds that are not read" in told
    assert "2 x .heic, 1 x .svg" in told


@pytest.mark.parametrize("given", ["nowhere", ["nowhere.jpg"], [], "empty"])
def test_nothing_found_is_an_error(tmp_path, given, monkeypatch):
    """A missing path, an empty folder and an empty list are each one clear error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"nowhere|empty"):
        find_images(given)


def test_file_that_is_no_image_is_refused(tmp_path):
    """A file named directly must be an image; the error lists the known endings."""
    touch(tmp_path, "a.txt")
    with pytest.raises(ValueError, match=r"a\.txt.*\.jpg"):
        find_images(tmp_path / "a.txt")
