"""Files are whole or absent, at every moment."""

from __future__ import annotations

import os
import pickle
import signal

import pytest
import torch

from ddetr_data.files import EncryptionError, is_encrypted
from ddetr_train.checkpoints import AtomicCheckpointIO, copy_whole

KEY = "a passphrase with spaces and ümlauts"


@pytest.fixture
def files() -> AtomicCheckpointIO:
    return AtomicCheckpointIO()


def test_what_is_saved_is_loaded(files, tmp_path) -> None:
    """A folder that is not there yet is made."""
    path = tmp_path / "new" / "model.pth"
    files.save_checkpoint({"epoch": 3, "weight": torch.ones(2)}, path)
    assert files.load_checkpoint(path)["epoch"] == 3
    files.remove_checkpoint(path)
    assert not path.exists()


@pytest.mark.parametrize("key", [None, KEY])
def test_a_full_disk_leaves_the_previous_file(tmp_path, largest_file, key) -> None:
    """The error names the file, and nothing half written stays behind."""
    path = tmp_path / "model.pth"
    files = AtomicCheckpointIO(key)
    files.save_checkpoint({"epoch": 1}, path)
    with largest_file(10_000), pytest.raises(OSError, match=r"File too large: '.*model\.pth'"):
        files.save_checkpoint({"epoch": 2, "weight": torch.ones(100_000)}, path)
    assert files.load_checkpoint(path)["epoch"] == 1
    assert os.listdir(tmp_path) == ["model.pth"]


def test_a_folder_that_cannot_be_made_is_a_clear_error(files, tmp_path) -> None:
    """A file in the place of the folder is named."""
    (tmp_path / "results").write_text("not a folder")
    with pytest.raises(OSError, match=r"'.*/results/?.*'"):
        files.save_checkpoint({}, tmp_path / "results" / "model.pth")


def test_a_kill_while_writing_leaves_the_previous_file(files, tmp_path, in_a_process) -> None:
    """The new file appears only once it is whole."""
    path = tmp_path / "model.pth"
    files.save_checkpoint({"epoch": 1}, path)

    class Killing:
        def __reduce__(self) -> tuple[object, ...]:  # asked for while the file is being written
            os.kill(os.getpid(), signal.SIGKILL)
            return int, ()

    def write_half() -> None:
        files.save_checkpoint({"weight": torch.ones(1000), "last": Killing()}, path)

    assert in_a_process(write_half) == -signal.SIGKILL
    assert files.load_checkpoint(path)["epoch"] == 1
    assert in_a_process(lambda: files.save_checkpoint({"epoch": 2}, path)) == 0
    assert os.listdir(tmp_path) == ["model.pth"]


class _Malice:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch /tmp/was-run",)


def test_a_file_with_code_is_refused(files, tmp_path) -> None:
    """Unpickling runs nothing."""
    path = tmp_path / "malicious.pth"
    torch.save({"state_dict": _Malice()}, path)
    with pytest.raises(ValueError, match="would run code"):
        files.load_checkpoint(path)
    path.write_bytes(pickle.dumps({"a": _Malice()}))
    with pytest.raises(ValueError, match="would run code"):
        files.load_checkpoint(path)


def test_a_flipped_bit_is_no_other_weight(files, tmp_path) -> None:
    """torch.load would not see it; the file is called damaged."""
    path = tmp_path / "model.pth"
    files.save_checkpoint({"weight": torch.full((100,), 3.0)}, path)
    data = bytearray(path.read_bytes())
    data[data.index(torch.full((100,), 3.0).numpy().tobytes()) + 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"model\.pth .*is damaged"):
        files.load_checkpoint(path)


def test_another_name_is_a_file_of_its_own(tmp_path) -> None:
    """Overwriting the first name in place, as cp does, or removing it leaves the second whole."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("content")
    second.write_text("older")
    copy_whole(first, second)
    first.write_text("another file's")
    assert not second.is_symlink()
    assert second.read_text() == "content"
    assert sorted(os.listdir(tmp_path)) == ["first", "second"]


def test_a_copy_that_does_not_fit_leaves_the_older_file(tmp_path, largest_file) -> None:
    """The error names the file that is not there, and nothing half written stays behind."""
    first, second = tmp_path / "best", tmp_path / "epoch"
    first.write_text("content" * 1000)
    second.write_text("older")
    with largest_file(1000), pytest.raises(OSError, match="File too large") as caught:
        copy_whole(first, second)
    assert caught.value.filename == str(second)
    assert second.read_text() == "older"
    assert sorted(os.listdir(tmp_path)) == ["best", "epoch"]


def test_a_checkpoint_is_unreadable_without_the_key(tmp_path) -> None:
    """No tensor and no name stands in the file in clear; reading it asks for the key."""
    files = AtomicCheckpointIO(KEY)
    path = tmp_path / "model.pth"
    files.save_checkpoint({"secret_layer.weight": torch.full((64,), 3.0)}, path)
    data = path.read_bytes()
    assert is_encrypted(path)
    for clear in (b"secret_layer", torch.full((4,), 3.0).numpy().tobytes(), KEY.encode()):
        assert clear not in data
    with pytest.raises(EncryptionError, match="set encryption_key"):
        AtomicCheckpointIO().load_checkpoint(path)
    loaded = files.load_checkpoint(path)
    assert torch.equal(loaded["secret_layer.weight"], torch.full((64,), 3.0))


def test_the_key_does_not_show_in_a_repr() -> None:
    """Neither the reader nor its attributes' names give it away in a traceback's locals."""
    assert KEY not in repr(AtomicCheckpointIO(KEY))


def test_others_may_read_what_the_umask_allows(files, tmp_path) -> None:
    """A checkpoint is an ordinary file, not its owner's alone."""
    before = os.umask(0o027)
    try:
        files.save_checkpoint({}, tmp_path / "model.pth")
    finally:
        os.umask(before)
    assert (tmp_path / "model.pth").stat().st_mode & 0o777 == 0o640
