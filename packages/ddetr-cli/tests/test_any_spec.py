"""Whatever stands in a spec or in an override: a spec, or sentences of bounded length."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ddetr_cli.spec import Experiment, SpecError, dotted, known_keys, load_spec, parse_spec
from ddetr_cli.spec import load_tree as loaded_tree
from ddetr_data import ConvertConfig

LONGEST_SENTENCE = 1500
MODELS = (Experiment, ConvertConfig)
KEYS = [dotted(path) for path, _ in known_keys(Experiment)]
ODD_VALUES = """
nan .inf -.inf 1e400 -1e400 1e308 0 -1 -0 true null ??? '' [] {} [[]] [null] 0123 -007 0x1F 1_0
5e-324 9223372036854775808 ~ ${a} ${ ${results_dir} @ !!int !!python/name:os.system 2024-10-15 12:30
[nan] [1e400] {a:1} <<
"""

# What text may hold, parts of YAML more often than chance would have it.
SIGNS = ["{", "}", "[", "]", ": ", ", ", "- ", "&a ", "*a", "<<: ", "!!", "!", ">", "%", "'", "#"]
MORE = [
    "  ",
    "? ",
    "${",
    "\\x",
    "\\U",
    "0",
    "-.inf",
    "~",
    "|",
    '"',
    "\n",
    "1" * 5000,
    "\ud800",
    "\0",
    "\x1b",
    "é",
    "\udcff",
]
WORDS = ["train", "dataset", "results_dir", "optim", "lr", "num_classes"]
PIECES = st.sampled_from([*SIGNS, *MORE, *WORDS])
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=20).map("".join))


def told(text: str, overrides: Sequence[str] = (), model: Any = Experiment) -> str:
    """Load a text with overrides; gives the sentences, or nothing for a spec that is one."""
    try:
        loaded_tree(model, parse_spec(text, "s.yaml"), overrides, "export")
    except SpecError as error:
        return str(error)
    return ""


def check(sentences: str) -> None:
    """One sentence a line, none of them endless."""
    for line in sentences.splitlines():
        assert line.strip()
        assert len(line) <= LONGEST_SENTENCE


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(text=TEXTS, model=st.sampled_from(MODELS))
@example(text="train: {num_epochs: " + "9" * 5000 + "}", model=Experiment)
@example(text='results_dir: "a\\0b"', model=Experiment)
@example(text='results_dir: "\\uD800"', model=Experiment)
@example(text='results_dir: "\\UFFFFFFFF"', model=Experiment)
@example(text="%YAML " + "9" * 5000 + ".1\n---\na: 1", model=Experiment)
@example(text="a: " + "[" * 3000, model=Experiment)
@example(text="a: " + "{b: " * 200 + "1" + "}" * 200, model=Experiment)
@example(text="a: &a [*a]", model=Experiment)
@example(text="a: &a {<<: *a}", model=Experiment)
@example(text="train: !!binary aGk=", model=Experiment)
@example(text="train: {num_epochs: !!int abc, seed: !!float x}", model=Experiment)
@example(text="train: {verbose: !!bool 7}", model=Experiment)
@example(text="train: !!set {a, b}", model=Experiment)
@example(text="? [a, b]\n: 1", model=Experiment)
@example(text="{1: 2, null: 3, true: 4, : 5}", model=Experiment)
@example(text="a: 1\na: 2", model=Experiment)
@example(text="!" + "1" * 5000 + "!a b", model=Experiment)
@example(text="dataset: {eval_class_ids: [" + "1, " * 50_000 + "1]}", model=Experiment)
def test_any_text_is_a_spec_or_sentences(text: str, model: Any) -> None:
    """No traceback, whatever YAML makes of it."""
    # fault 41
    check(told(text, model=model))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(override=TEXTS, key=st.sampled_from(KEYS))
@example(override="a." * 3000 + "b=1", key="x")
@example(override="a" + "[0]" * 3000 + "=1", key="x")
@example(override="train.num_epochs=" + "9" * 5000, key="train.seed")
@example(override="train." + "9" * 5000 + "=1", key="dataset.train_data_sources")
@example(override="dataset.train_data_sources.\u00b2=1", key="x")
@example(override="dataset.train_data_sources[99999999999999999999]=1", key="x")
@example(override='results_dir="a\\0b"', key="x")
@example(override="a.\udcff=\udcff", key="results_dir")
@example(override="=", key="x")
@example(override="~", key="x")
@example(override="0\r\r", key="model")
@example(override="0\x1c\u2028", key="model")
@example(override="\x85\x85", key="train.seed")
def test_any_override_is_taken_or_told(override: str, key: str) -> None:
    """As a whole, as a value of a known key, and as a key of its own."""
    # fault 41
    check(told("", [override]))
    check(told("", [f"{key}={override}"]))
    check(told("", [f"{override}=1"]))


@pytest.mark.parametrize("value", ODD_VALUES.split())
def test_every_key_takes_or_refuses_every_odd_value(value: str) -> None:
    """NaN, infinities, numbers too large and too small, tags, lists, nulls."""
    # fault 41
    for key in KEYS:
        check(told("", [f"{key}={value}"]))


def test_no_key_takes_a_number_that_is_none() -> None:
    """Whoever accepts infinity or NaN would train on it."""
    # fault 41
    for value in (".nan", ".inf", "-.inf", "1e400"):
        for key in KEYS:
            tree = parse_spec("", "s.yaml")
            try:
                spec = loaded_tree(Experiment, tree, [f"{key}={value}"]).spec
            except SpecError:
                continue
            assert not any(map(math.isinf, numbers(spec.model_dump())))
            assert not any(map(math.isnan, numbers(spec.model_dump())))


def numbers(node: Any) -> list[float]:
    """Every number in nested values."""
    if isinstance(node, (dict, list, tuple)):
        children = node.values() if isinstance(node, dict) else node
        return [number for child in children for number in numbers(child)]
    return [node] if isinstance(node, float) else []


BOMBS = {
    "anchors": "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n"
        for a, b in zip("abcdefghijk", "bcdefghijkl", strict=True)
    ),
    "merges": "a: &a {x: 1}\n" + "".join(
        f"{b}: &{b} {{<<: [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}], y{b}: 1}}\n"
        for a, b in zip("abcdefghijk", "bcdefghijkl", strict=True)
    ),
    "references": "inference: {color_map: {k0: xxxxxxxx, "
    + ", ".join(f'k{i}: "${{inference.color_map.k{i - 1}}}${{inference.color_map.k{i - 1}}}"'
                for i in range(1, 60)) + "}}",
    "blocks": "inference: {color_map: {k: 1}}\n" + "".join(
        f'b{i}: ["${{b{i - 1}}}", "${{b{i - 1}}}"]\n' for i in range(1, 60)) + "b0: [1]\n",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_texts_that_double_each_other_are_refused(bomb: str) -> None:
    """Twenty lines must not make gigabytes."""
    # fault 41
    assert "more than" in (sentences := told(BOMBS[bomb])) or "at most" in sentences


@settings(max_examples=40, deadline=None)
@given(content=st.binary(max_size=60))
def test_any_bytes_are_a_spec_or_sentences(content: bytes) -> None:
    """Of a file that is no text, too."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "s.yaml")
        path.write_bytes(content)
        try:
            load_spec(Experiment, path)
        except SpecError as error:
            check(str(error))


@pytest.mark.parametrize("value", ["0123", "-012", "00", "08", "01.5", "007e1"])
def test_a_number_with_leading_zeros_is_refused(value: str) -> None:
    """YAML 1.1 reads 0123 as 83, people as 123; a text of digits keeps its zeros."""
    # fault 48
    for key in ("train.seed", "train.optim.lr", "dataset.num_classes", "dataset.eval_class_ids.0"):
        assert "without leading zeros" in told("", [f"{key}={value}"])
    assert told("train: {seed: " + value + "}").endswith("(s.yaml:1)")
    assert not told("", [f"results_dir={value}"])


def test_a_key_of_bytes_that_are_no_text_is_told() -> None:
    """By its own name and place, not by that of the whole spec."""
    # fault 41
    assert told("", ["a\udcfe=1"]) == (
        r"a key must be text in UTF-8, got a\udcfe (override a\udcfe=1)"
    )
