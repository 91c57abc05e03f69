"""A file is under its name whole, or as it was before, whatever happens to its writer."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ddetr_data.files import discard_folder, replacing, whole_folder, write_all, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run(function: Callable[..., None], *arguments: object) -> int | None:
    """Call a function in a process of its own; gives how that ended."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def die_writing(path: Path, content: bytes = b"half") -> None:
    with replacing(path) as draft:
        draft.write_bytes(content)
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("content", "written"),
    [
        ("tëxt\n", "tëxt\n".encode()),
        (b"\0bytes", b"\0bytes"),
        (lambda file: file.write(b"by a function"), b"by a function"),
    ],
)
def test_text_bytes_and_functions_are_written(tmp_path: Path, content, written: bytes) -> None:
    """Their folder is made, and nothing else lies in it."""
    write_whole(tmp_path / "deep" / "a", content)
    assert (tmp_path / "deep" / "a").read_bytes() == written
    assert names(tmp_path / "deep") == ["a"]


def test_a_disk_without_room_keeps_the_old_file(tmp_path: Path, largest_file) -> None:
    """The error names the file, which the system's own does not; nothing stays beside it."""
    path = tmp_path / "a.txt"
    write_whole(path, "old")
    with largest_file(1000), pytest.raises(OSError, match="File too large") as caught:
        write_whole(path, "new" * 1000)
    assert caught.value.filename == str(path)
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "old"


def test_an_error_that_a_library_made_of_the_disks_is_told_as_the_disks(tmp_path: Path) -> None:
    """torch.save, for one, answers a full disk with a RuntimeError about positions."""
    # fault 20

    def save(file) -> None:
        try:
            raise OSError(28, "No space left on device")
        finally:
            raise RuntimeError("unexpected pos 576 vs 534")

    with pytest.raises(OSError, match=r"No space left on device: '.*a\.pth'"):
        write_whole(tmp_path / "a.pth", save)
    assert names(tmp_path) == []


def test_other_errors_of_a_writer_stay_as_they_are(tmp_path: Path) -> None:
    """A fault of the content is none of the disk."""

    def save(file) -> None:
        raise ValueError("no such quality")

    with pytest.raises(ValueError, match="no such quality"):
        write_whole(tmp_path / "a.png", save)
    assert names(tmp_path) == []


def test_a_killed_writer_leaves_the_old_file_and_the_next_run_nothing_else(tmp_path: Path) -> None:
    """What it had begun is removed by whoever writes any file of that folder next."""
    path = tmp_path / "a.txt"
    path.write_text("old")
    assert run(die_writing, path) == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(names(tmp_path)) == 2
    assert run(write_whole, tmp_path / "b.txt", "another") == 0
    assert names(tmp_path) == ["a.txt", "b.txt"]


def test_who_writes_a_file_again_removes_what_was_left_of_it(tmp_path: Path) -> None:
    """Also where it looked for leftovers before, as among label files by the thousand."""
    path = tmp_path / "a.txt"
    write_whole(path, "old", sync=False)
    assert run(die_writing, path) == -signal.SIGKILL
    write_whole(path, "new", sync=False)
    assert names(tmp_path) == ["a.txt"]


def test_a_file_that_another_process_still_writes_is_no_leftover(tmp_path: Path) -> None:
    """Two runs in one folder do not take each other's files away."""
    with replacing(tmp_path / "a.txt") as draft:
        draft.write_text("slow")
        assert run(write_whole, tmp_path / "b.txt", "quick") == 0
    assert names(tmp_path) == ["a.txt", "b.txt"]


def test_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    """Of several at the same time one wins, whole."""
    texts = [letter * 100_000 for letter in "abcdefgh"]
    threads = [
        threading.Thread(target=write_whole, args=(tmp_path / "a.txt", text)) for text in texts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a.txt").read_text() in texts
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="there are no such modes")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_a_new_file_has_the_mode_that_the_umask_allows(
    tmp_path: Path, umask: int, mode: int
) -> None:
    """It is an ordinary file, not its owner's alone."""
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "a.txt", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode


@pytest.mark.skipif(os.name == "nt", reason="there are no such modes")
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    """Who has made a file private finds it private."""
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "a.txt").chmod(0o600)
    write_whole(tmp_path / "a.txt", "new")
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o600


def test_the_longest_names_can_be_written(tmp_path: Path) -> None:
    """A name of 255 bytes leaves no room for an ending."""
    write_whole(tmp_path / ("x" * 251 + ".txt"), "text")
    assert names(tmp_path) == ["x" * 251 + ".txt"]


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    """The latest checkpoint as a link must not cost the one that it names."""
    (tmp_path / "epoch_3").write_text("third")
    (tmp_path / "latest").symlink_to(tmp_path / "epoch_3")
    write_whole(tmp_path / "latest", "fourth")
    assert (tmp_path / "epoch_3").read_text() == "third"
    assert not (tmp_path / "latest").is_symlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    """As /dev/stdout, it is no file that another could replace."""
    os.mkfifo(tmp_path / "pipe")
    read = []
    thread = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    thread.start()
    write_whole(tmp_path / "pipe", "through it")
    thread.join()
    assert read == ["through it"]
    assert (tmp_path / "pipe").is_fifo()
    assert names(tmp_path) == ["pipe"]


def test_files_that_belong_together_appear_together(tmp_path: Path) -> None:
    """When the second cannot be written, the first stays as it was too."""
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_all({tmp_path / "b": "new", tmp_path / "a": "new"})
    assert caught.value.filename == str(tmp_path / "b")
    assert (tmp_path / "a").read_text() == "old"
    write_all({tmp_path / "a": "new", tmp_path / "c": b"new"})
    assert names(tmp_path) == ["a", "b", "c"]


def test_a_folder_appears_whole_and_the_first_one_stays(tmp_path: Path) -> None:
    """Of two that were made at the same time the later one is dropped."""
    with whole_folder(tmp_path / "store") as first:
        (first / "a").write_text("first")
        with whole_folder(tmp_path / "store") as second:
            (second / "a").write_text("second")
        assert names(tmp_path / "store") == ["a"]
    assert (tmp_path / "store" / "a").read_text() == "second"
    assert names(tmp_path) == ["store"]


def test_a_discarded_folder_is_gone(tmp_path: Path) -> None:
    """Nothing of it stays beside its target."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a").write_text("text")
    discard_folder(tmp_path / "store")
    assert names(tmp_path) == []
