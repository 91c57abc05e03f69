"""Staged files appear all at the end, or not at all."""

import pytest

from ddetr_data.files import staged


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_appear_when_the_block_ends(tmp_path):
    """Nothing is seen under its name while it is being written."""
    out = tmp_path / "deep/out"
    with staged(out) as staging:
        (staging / "a.txt").write_text("new")
        assert not (out / "a.txt").exists()
    assert names(out) == ["a.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_failed_block_changes_nothing(tmp_path, error):
    """Old files keep their content, and no trace is left."""
    (tmp_path / "a.txt").write_text("old")

    def fail_while_writing():
        with staged(tmp_path, is_stale=lambda _: True) as staging:
            (staging / "a.txt").write_text("new")
            raise error

    with pytest.raises(error):
        fail_while_writing()
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_only_stale_files_are_removed(tmp_path):
    """Files of an earlier run go, what is written anew and what others keep there stays."""
    for name in ("old.json", "same.json", "notes.txt"):
        (tmp_path / name).write_text("old")
    with staged(tmp_path, is_stale=lambda name: name.endswith(".json")) as staging:
        (staging / "same.json").write_text("new")
    assert names(tmp_path) == ["notes.txt", "same.json"]
    assert (tmp_path / "same.json").read_text() == "new"


def test_a_full_disk_is_named_with_the_folder(tmp_path):
    """The system's error tells no path."""
    with pytest.raises(OSError, match="No space") as caught, staged(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "out")
