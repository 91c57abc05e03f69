"""KITTI label lines: 15 and 16 columns, names with blanks, and errors that name file and line."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddetr_data.formats import (
    KittiError,
    KittiObject,
    format_kitti_line,
    parse_kitti_line,
    read_kitti,
    read_kitti_lines,
    write_kitti,
)

NUMBERS = "0.25 1 -1.5 10.5 20 30.25 40 1.5 1.6 3.7 1 2 3 0.1"


def test_all_fifteen_columns_are_read():
    """Every column lands in its own field."""
    item = parse_kitti_line(f"Car {NUMBERS}", "a.txt:1")
    assert item == KittiObject(
        name="Car",
        box_xyxy=(10.5, 20, 30.25, 40),
        truncated=0.25,
        occluded=1,
        alpha=-1.5,
        dimensions_hwl=(1.5, 1.6, 3.7),
        location_xyz=(1, 2, 3),
        rotation_y=0.1,
        score=None,
    )


@pytest.mark.parametrize(
    ("line", "name", "score"),
    [
        (f"Car {NUMBERS}", "Car", None),
        (f"Car {NUMBERS} 0.875", "Car", 0.875),
        (f"1 {NUMBERS}", "1", None),
        (f"person group {NUMBERS}", "person group", None),
        (f"  person \t group {NUMBERS} 0.5\r", "person group", 0.5),
        (f"truck 2 {NUMBERS} 0.5", "truck 2", 0.5),
    ],
)
def test_name_is_what_stands_before_the_numbers(line, name, score):
    """Blanks in a name do not shift the columns, with and without a score."""
    item = parse_kitti_line(line, "a.txt:1")
    assert (item.name, item.score, item.box_xyxy) == (name, score, (10.5, 20, 30.25, 40))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("Car 0 0 0 1 2 3 4", "15 columns .* this one has 8"),
        (f"{NUMBERS}", "15 columns .* this one has 14"),
        ("Car," + ",".join(NUMBERS.split()), "not commas"),
        ("Car 0 0 0 1 two 3 4 1 1 1 1 1 1 0", "'two' stands in a wrong column"),
    ],
)
def test_malformed_line_names_file_and_line(line, text):
    """The error starts with file:line and says what is wrong."""
    with pytest.raises(KittiError, match=rf"^labels/a\.txt:7: .*{text}"):
        parse_kitti_line(line, "labels/a.txt:7")


def test_bad_line_does_not_stop_the_others(tmp_path):
    """Objects and errors come in file order; blank lines, CRLF and a byte-order mark do no harm."""
    path = tmp_path / "a.txt"
    text = f"\ufeffCar {NUMBERS}\r\n\r\nbroken\r\n  \r\nVan {NUMBERS}\r\n"
    path.write_bytes(text.encode())
    rows = list(read_kitti_lines(path))
    assert [where.rpartition(":")[2] for where, _ in rows] == ["1", "3", "5"]
    assert [getattr(item, "name", None) for _, item in rows] == ["Car", None, "Van"]
    with pytest.raises(KittiError, match=r"a\.txt:3"):
        read_kitti(path)


def test_binary_file_is_refused_by_name(tmp_path):
    """A file that is no text is one error, not a decoding traceback."""
    path = tmp_path / "b.txt"
    path.write_bytes(b"\x89PNG\x00C")
    with pytest.raises(KittiError, match=r"b\.txt.*not a text"):
        read_kitti(path)


def test_empty_file_has_no_objects(tmp_path):
    """An empty label file is an image without objects."""
    (tmp_path / "empty.txt").touch()
    assert read_kitti(tmp_path / "empty.txt") == []


def test_written_file_reads_back_equal(tmp_path):
    """Write and read keep every column; 16 columns with a score, 15 without."""
    items = [
        KittiObject("Car", (1.123456, 2, 3.5, 4), 0.5, 2, -1.57, (1, 2, 3), (4, 5, 6), 0.25, 0.875),
        KittiObject("Van", (0, 0, 1e6, 2)),
    ]
    write_kitti(tmp_path / "deep" / "a.txt", items)
    assert read_kitti(tmp_path / "deep" / "a.txt") == items
    lines = (tmp_path / "deep" / "a.txt").read_text().splitlines()
    assert [len(line.split()) for line in lines] == [16, 15]


def test_blanks_in_names_become_underscores():
    """Other readers split at blanks, so a written name holds none."""
    line = format_kitti_line(KittiObject("person  group", (1, 2, 3, 4)))
    assert line.startswith("person_group 0.00 0 0.00 1.00 2.00 3.00 4.00 ")


@settings(deadline=None)
@given(line=st.text(st.sampled_from("a 1.-,\tnife\u00a0"), min_size=1, max_size=80))
def test_any_text_is_an_object_or_a_kitti_error(line):
    """No line, however odd, fails in another way than KittiError."""
    with suppress(KittiError):
        assert parse_kitti_line(line, "a.txt:1").name


def test_a_column_too_many_is_no_name(tmp_path):
    """17 columns: the third number is not taken for the end of a class name of two words."""
    text = "person 0.00 0 0.00 1 2 3 4 0 0 0 0 0 0 0 0.9 5"
    with pytest.raises(KittiError, match="this one has 17"):
        parse_kitti_line(text, "a.txt:1")
    assert parse_kitti_line(f"car 3 {' 1' * 14} 0.9", "a.txt:1").name == "car 3"


def test_label_files_in_other_encodings_are_read(tmp_path):
    """UTF-16 says so by its mark; what is no UTF-8 is taken for Latin-1 and loses no line."""
    text = f"M\u00e4dchen {' 1' * 14}\nperson {' 1' * 14}\n"
    for encoding in ("utf-16", "latin-1", "utf-8-sig", "utf-8"):
        (tmp_path / "a.txt").write_bytes(text.encode(encoding))
        assert [item.name for item in read_kitti(tmp_path / "a.txt")] == ["M\u00e4dchen", "person"]
