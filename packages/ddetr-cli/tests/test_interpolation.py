"""`${a.b}` takes a value from another key and can do nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ddetr_cli.spec import Experiment, SpecError

Load = Callable[..., Experiment]


def test_a_value_comes_from_file_override_or_default(load: Load) -> None:
    """The key may be written, overridden, or known only by its default; types stay."""
    text = """
results_dir: /r
train: {results_dir: "${results_dir}/t", num_epochs: "${dataset.workers}"}
"""
    assert str(load(text).train.results_dir) == "/r/t"
    assert str(load(text, ["results_dir=/o"]).train.results_dir) == "/o/t"
    assert load(text).train.num_epochs == 8


def test_list_entries_can_be_taken(load: Load) -> None:
    """A source's folder can be named once and used again."""
    text = """
dataset:
  train_data_sources: [{image_dir: /images, json_file: a.json}]
  infer_data_sources: {image_dir: "${dataset.train_data_sources[0].image_dir}"}
"""
    source = load(text).dataset.infer_data_sources
    assert source is not None
    assert source.image_dir == ("/images",)


@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:HOME}",
        "${eval:'1+1'}",
        "${oc.create:[1]}",
        "x${oc.decode:'1'}",
        "${a.${oc.env:A}}",
    ],
)
def test_nothing_is_evaluated(load: Load, value: str) -> None:
    """Resolvers, the environment's too, are refused with the key's line."""
    with pytest.raises(SpecError, match=r"results_dir: .* asks for more than a key.*spec.yaml:1"):
        load(f'results_dir: "{value}"')


@pytest.mark.parametrize("value", ["${no.such.key}", "${results_dir}", "${train.", "${}"])
def test_a_key_that_gives_nothing_is_named(load: Load, value: str) -> None:
    """Unknown keys, circles and open braces are one sentence with the line."""
    with pytest.raises(SpecError, match=r"results_dir.*spec.yaml:1"):
        load(f'results_dir: "{value}"')


def test_a_variable_of_the_environment_is_told_from_a_typo(load: Load) -> None:
    """${HOME} looks like a shell's; a lower-case word is a key that is not there."""
    with pytest.raises(SpecError, match=r"HOME .* is no key of the spec; the environment is not"):
        load("results_dir: '${HOME}/x'")
    sentence = r"results in \$\{\.\.\.\} is no key of the spec; write .* \("
    with pytest.raises(SpecError, match=sentence):
        load("results_dir: '${results}/x'")


def test_a_passphrase_is_not_copied_into_a_path(load: Load) -> None:
    """It would stand in experiment.yaml and in the folder's name."""
    with pytest.raises(SpecError, match="encryption_key is a secret"):
        load("results_dir: '/r/${encryption_key}'", ["encryption_key=sesame"])


def test_a_passphrase_of_the_environment_is_taken_as_it_is(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signs of a reference in it mean nothing, also where the spec has references."""
    monkeypatch.setenv("DDETR_ENCRYPTION_KEY", "open ${sesame")
    experiment = load('results_dir: /r\ntrain: {results_dir: "${results_dir}/t"}\n')
    assert experiment.passphrase == "open ${sesame"
    assert str(experiment.train.results_dir) == "/r/t"
