"""Overrides: how they are written, and how they are laid over a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ddetr_cli.spec import (
    Experiment,
    SpecError,
    SpecTree,
    apply_overrides,
    parse_spec,
    spec_yaml,
    split_override,
)

Load = Callable[..., Experiment]


def overridden(text: str, *overrides: str) -> dict[str, Any]:
    tree = parse_spec(text, "s.yaml")
    apply_overrides(tree, overrides)
    return tree.values


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("3", 3),
        ("2e-4", 2e-4),
        ("true", True),
        ("null", None),
        ("", None),
        ("[480, 512]", [480, 512]),
        ("[480,512]", [480, 512]),
        ("[a b, 'c, d']", ["a b", "c, d"]),
        ("{person: red, car: '#00f'}", {"person": "red", "car": "#00f"}),
        ("/data/my images/a=b", "/data/my images/a=b"),
        ("'quoted: text'", "quoted: text"),
        ('"null"', "null"),
        ("*.json", "*.json"),
        ("a # b", "a # b"),
        ("=", "="),
        ("&x", "&x"),
        ("it's", "it's"),
        ("!!python/name:os.system", "!!python/name:os.system"),
    ],
)
def test_values_are_read_as_people_type_them(written: str, value: object) -> None:
    """Lists, dicts and quotes are YAML's; any other text needs no quoting but the shell's."""
    assert overridden("", f"a.b={written}") == {"a": {"b": value}}


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("a.b=1", ("a", "b")),
        ("+a.b=1", ("a", "b")),
        ("++a.b=1", ("a", "b")),
        ("a.list[2].b=1", ("a", "list", 2, "b")),
        ("map.traffic light=1", ("map", "traffic light")),
        ('map."v1.5"=1', ("map", "v1.5")),
        ("map.'a=b'=1", ("map", "a=b")),
    ],
)
def test_keys_can_hold_what_class_names_hold(override: str, path: tuple[object, ...]) -> None:
    """Spaces are plain; dots and equal signs go into quotes; brackets hold an index."""
    assert split_override(override) == (path, "1")


@pytest.mark.parametrize("override", ["a.b", "=1", "~a.b", ".a=1", "a..b=1", "a.=1", "+=1", "[=1"])
def test_what_is_no_override_is_refused(override: str) -> None:
    """The sentence quotes what was typed."""
    with pytest.raises(SpecError) as caught:
        apply_overrides(SpecTree(), [override])
    assert repr(override) in str(caught.value)


def test_an_override_wins_and_the_rest_stays() -> None:
    """Blocks merge key by key, lists are replaced, later overrides win."""
    found = overridden("a: {b: 1, c: [1, 2, 3]}", "a.c=[9]", "a={d: 4}", "a.d=5")
    assert found == {"a": {"b": 1, "c": [9], "d": 5}}


def test_entries_of_a_list_are_reached_by_index() -> None:
    """`.0.` and `[0]` mean the same where the file has a list; the next index adds an entry."""
    text = "s: [{x: 1}, {x: 2}]"
    assert (
        overridden(text, "s.1.x=5") == overridden(text, "s[1].x=5") == {"s": [{"x": 1}, {"x": 5}]}
    )
    assert overridden(text, "s[2].x=3")["s"][2] == {"x": 3}
    assert overridden("", "s[0].x=3") == {"s": [{"x": 3}]}


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("s[7].x=1", "has only 1 entries"),
        ("s.x=1", "is a list; give an index"),
        ("n.x=1", "n is no block of keys"),
        ("b[0]=1", "b is no list"),
    ],
)
def test_a_key_through_something_else_is_refused(override: str, fault: str) -> None:
    """An override cannot turn a scalar into a block or skip entries."""
    with pytest.raises(SpecError, match=r"\(override|: ") as caught:
        overridden("s: [{x: 1}]\nn: 5\nb: {c: 1}", override)
    assert fault in str(caught.value)


def test_absent_blocks_appear(load: Load) -> None:
    """A colour and a data source can be given without a word of them in the file."""
    experiment = load("", ["inference.color_map.traffic light=red", "dataset.num_classes=4"])
    assert experiment.inference.color_map == {"traffic light": "red"}
    assert experiment.dataset.num_classes == experiment.model.num_classes == 4


def test_numbers_for_text_keys_stay_as_typed(load: Load) -> None:
    """A folder called 007 or a numeric passphrase does not lose its zeros."""
    experiment = load("results_dir: 007", ["encryption_key=0042"])
    assert experiment.results_dir == "007"
    assert experiment.encryption_key is not None
    assert experiment.encryption_key.get_secret_value() == "0042"


@pytest.mark.parametrize("index", [".0", "[0]"])
def test_entries_of_an_absent_list_are_reached_too(index: str, load: Load) -> None:
    """The model tells that a list belongs there; a class called 0 stays a class."""
    key = f"dataset.val_data_sources{index}"
    experiment = load("", [f"{key}.image_dir=a", f"{key}.json_file=b", "inference.color_map.0=red"])
    assert experiment.dataset.val_data_sources[0].image_dir == "a"
    assert experiment.inference.color_map == {"0": "red"}


def test_what_an_override_began_names_the_override(load: Load) -> None:
    """A block that only an override opened is not said to stand in the file."""
    with pytest.raises(SpecError, match=r"json_file is missing \(override dataset\.val_data"):
        load("dataset: {batch_size: 1}", ["dataset.val_data_sources[0].image_dir=a"])


@pytest.mark.parametrize(
    "override",
    [
        "encryption_key=[sesame",
        '"encryption_key"=[sesame',
        "encryption_keys=sesame",
        "encryption_key.a=sesame",
        ".encryption_key=sesame",
        "~encryption_key=sesame",
    ],
)
def test_no_sentence_about_a_passphrase_shows_it(override: str, load: Load) -> None:
    """However it was mistyped."""
    with pytest.raises(SpecError) as caught:
        load("", [override])
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model.class_weights=balanced"], "balanced"),
        (["model.class_weights.big dog=3", "model.class_weights.7=0.5"], {"big dog": 3, "7": 0.5}),
        (["model.class_weights={car: 2}"], {"car": 2}),
        (["model.class_weights=null"], None),
    ],
)
def test_weights_of_classes_are_a_word_or_a_block(
    load: Load, overrides: list[str], expected: Any
) -> None:
    """Names and ids are texts, and what is written loads again."""
    experiment = load("", overrides)
    assert experiment.model.losses().class_weights == expected
    assert load(spec_yaml(experiment)).model.losses().class_weights == expected


def test_a_bad_weight_is_named_with_its_class(load: Load) -> None:
    """By its whole key."""
    with pytest.raises(SpecError, match=r"model\.class_weights\.car must be"):
        load("model: {class_weights: {car: heavy}}")
