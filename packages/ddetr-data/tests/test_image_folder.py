"""Finding images: folders, files and lists, with results' names that never clash."""

import os
from pathlib import Path

import pytest

from ddetr_data.images import find_images


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
    """A string is one place, not a list of its letters."""
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


@pytest.mark.parametrize("given", ["nowhere", ["nowhere.jpg"], [], "empty"])
def test_nothing_found_is_an_error(tmp_path, given, monkeypatch):
    """A missing place, an empty folder and an empty list are each one clear error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"nowhere|empty"):
        find_images(given)


def test_file_that_is_no_image_is_refused(tmp_path):
    """A file named directly must be an image; the error lists the known endings."""
    touch(tmp_path, "a.txt")
    with pytest.raises(ValueError, match=r"a\.txt.*\.jpg"):
        find_images(tmp_path / "a.txt")
