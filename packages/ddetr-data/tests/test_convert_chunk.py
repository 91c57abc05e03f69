"""One chunk of a conversion, as a process reads it."""

import os

import pytest
from PIL import Image

from ddetr_data.convert import ChunkReader, LabelledFile
from ddetr_data.formats import KittiObject, format_kitti_line, read_kitti_rows


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="there are no other users here")
def test_label_file_without_the_right_to_read_it_is_unreadable(tmp_path):
    """The conversion goes on and names the file, with root's rights given up for it."""
    label = tmp_path / "0.txt"
    label.write_text(format_kitti_line(KittiObject("person", (4, 5, 20.5, 30.25))))
    label.chmod(0)
    image = tmp_path / "0.jpg"
    Image.new("RGB", (64, 48)).save(image)
    reader = ChunkReader(read_kitti_rows, None, "skip")
    reader([LabelledFile(image, tmp_path / "none.txt", "0.jpg", 0)])  # imports what it needs
    user = os.geteuid()
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o011 != 0o011:
            folder.chmod(folder.stat().st_mode | 0o011)
    try:
        if user == 0:
            os.seteuid(65534)
        tally = reader([LabelledFile(image, label, "0.jpg", 0)]).tally
    finally:
        os.seteuid(user)
    assert tally.dropped == {("malformed_label_file", ""): 1}
