"""Class mappings: exact before ignoring case, ids in reverse alphabetical order, clear errors."""

import json

import pytest

from ddetr_data.faults import DataError
from ddetr_data.formats import (
    ClassMapping,
    number_categories,
    read_classmap,
    read_mapping,
    write_classmap,
)
from ddetr_data.types import Category


def test_exact_name_wins_over_ignoring_case():
    """Capitals in keys and in labels both match; an exact key is never overruled."""
    mapping = ClassMapping({"Car": "vehicle", "car": "toy", "Van": "vehicle"})
    assert [mapping.target(name) for name in ("Car", "car", "VAN", "bus")] == [
        "vehicle",
        "toy",
        "vehicle",
        None,
    ]


def test_case_that_could_mean_two_targets_is_not_guessed():
    """CAR is neither Car nor car when these become different classes."""
    assert ClassMapping({"Car": "vehicle", "car": "toy"}).target("CAR") is None


def test_ids_follow_reverse_alphabetical_order():
    """zebra, car and bag become 1, 2 and 3."""
    mapping = ClassMapping({"a": "car", "b": "zebra", "c": "bag", "d": "car"})
    found = number_categories(mapping.target_names)
    assert found == (Category(1, "zebra"), Category(2, "car"), Category(3, "bag"))


def test_mapping_file_is_read(tmp_path):
    """A BOM and blanks around target names do no harm."""
    path = tmp_path / "map.json"
    path.write_text("\ufeff" + json.dumps({"Person Group": " person "}), encoding="utf-8")
    assert read_mapping(path).target("person group") == "person"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", "source class: target class"),
        ("{}", "source class: target class"),
        ('{"car": 3}', "'car' must become a class name, got 3"),
        ('{"car": " "}', "'car'"),
    ],
)
def test_bad_mapping_file_names_the_entry(tmp_path, text, complaint):
    """The error names the file and what is wrong in it."""
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"map\.json.*{complaint}"):
        read_mapping(path)


def test_classmap_reads_back_what_was_written(tmp_path):
    """Names with blanks and other alphabets keep their order; CRLF and blank ends are no names."""
    categories = number_categories(["person group", "große Kiste", "箱"])
    write_classmap(tmp_path / "a.txt", categories)
    names = read_classmap(tmp_path / "a.txt")
    assert names == tuple(category.name for category in categories)
    (tmp_path / "b.txt").write_bytes("\ufeffa\r\nb c\r\n\r\n".encode())
    assert read_classmap(tmp_path / "b.txt") == ("a", "b c")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "empty"),
        (b"a\n\nb\n", ":2 must hold a name"),
        (b"a\nb\na\n", ":3: 'a' stands there twice"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_bad_classmap_names_the_line(tmp_path, content, complaint):
    """The error names file and line."""
    (tmp_path / "c.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"c\.txt.*{complaint}"):
        read_classmap(tmp_path / "c.txt")


def test_missing_files_are_named(tmp_path):
    """Neither kind of file is silently replaced by a default."""
    for read in (read_classmap, read_mapping):
        with pytest.raises(FileNotFoundError, match=r"gone\.x"):
            read(tmp_path / "gone.x")


@pytest.mark.parametrize("names", ["[cat, dog]", "{0: cat, 1: dog}", "{1: dog, 0: cat}"])
def test_names_of_a_yolo_data_file(tmp_path, names):
    """A list, or a table by number; never the lines of the file."""
    pytest.importorskip("yaml", reason="the extra [yaml] is not installed")
    path = tmp_path / "data.yaml"
    path.write_text(f"train: images/train\nnc: 2\nnames: {names}\n")
    assert read_classmap(path) == ("cat", "dog")


@pytest.mark.parametrize(
    "content", ["nc: 2", "names: {1: cat, 2: dog}", "names: [1]", "names: [", "- a"]
)
def test_yolo_data_file_without_names_is_refused(tmp_path, content):
    """Numbers that do not start at 0 would give every object another's class."""
    pytest.importorskip("yaml", reason="the extra [yaml] is not installed")
    path = tmp_path / "data.yaml"
    path.write_text(content)
    with pytest.raises(DataError, match=r"data\.yaml"):
        read_classmap(path)
