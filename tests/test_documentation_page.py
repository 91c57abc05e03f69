"""The specs of the public documentation page load, and its table of defaults holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ddetr_cli.spec import (
    RENAMED,
    Experiment,
    json_schema,
    load_spec,
    model_of,
    read_spec_file,
)
from ddetr_data.conversion_config import ConvertConfig

SPECS = Path(__file__).parent / "specs"
RECIPES = Path(__file__).parent.parent / "docs" / "specs"
NAMES_HERE = {str(old[-1]): str(new[-1]) for old, new in RENAMED.items()}
EXPERIMENT_SPECS = sorted(path for path in SPECS.glob("*.yaml") if path.name != "convert.yaml")


def loaded_from(text: str, folder: Path) -> dict[str, Any]:
    """Load a spec of this text and give every key's value as plain data."""
    path = folder / "spec.yaml"
    path.write_text(text)
    values: dict[str, Any] = load_spec(Experiment, path).spec.model_dump(mode="json")
    return values


def differences(written: Any, loaded: Any, path: str = "") -> list[str]:
    """List the keys of `written` that have another value in `loaded`."""
    if isinstance(loaded, list) and loaded and not isinstance(written, list):
        written = [written]  # one bare value stands for a list of one
    if isinstance(written, dict):
        pairs = [
            (value, loaded[key if key in loaded else NAMES_HERE[key]], f"{path}.{key}")
            for key, value in written.items()
        ]
    elif isinstance(written, list) and len(written) == len(loaded):
        pairs = [(one, other, path) for one, other in zip(written, loaded, strict=True)]
    else:
        return [] if written == loaded else [f"{path}: {written!r} became {loaded!r}"]
    return [found for pair in pairs for found in differences(*pair)]


@pytest.mark.parametrize("path", EXPERIMENT_SPECS, ids=lambda path: path.stem)
def test_every_spec_of_the_page_loads_with_its_values(path: Path) -> None:
    """Nothing is refused or lost, whatever a key is called here."""
    experiment = load_spec(Experiment, path).spec
    written = yaml.safe_load(path.read_text())
    assert differences(written, experiment.model_dump(mode="json")) == []


def test_the_conversion_spec_of_the_page_loads() -> None:
    """Its keys are flat."""
    path = SPECS / "convert.yaml"
    loaded = load_spec(ConvertConfig, path).spec.model_dump(mode="json")
    assert differences(yaml.safe_load(path.read_text()), loaded) == []


def test_the_sample_backbone_path_is_read_as_the_backbone() -> None:
    """The page's sample names the backbone file pretrained_model_path."""
    loaded = load_spec(Experiment, SPECS / "train.yaml")
    assert loaded.spec.model.pretrained_backbone_path == "/path/to/your-pretrained-backbone-model"
    assert any("pretrained_backbone_path" in notice for notice in loaded.notices)


def test_the_defaults_are_the_pages(tmp_path: Path) -> None:
    """An empty spec has every default of the page's tables."""
    table = yaml.safe_load((SPECS / "defaults.yaml").read_text())
    assert differences(table, loaded_from("", tmp_path)) == []


@pytest.mark.parametrize("indices", ["0, 1, 2, 3, 4", "1, 2, 3, 4", "1, 2, 3", "1, 2", "1"])
def test_the_pages_lists_of_levels_are_accepted(indices: str, tmp_path: Path) -> None:
    """Each of the five lists, with its own number of levels."""
    levels = len(indices.split(","))
    text = f"model: {{return_interm_indices: [{indices}], num_feature_levels: {levels}}}"
    assert loaded_from(text, tmp_path)["model"]["num_feature_levels"] == levels


@pytest.mark.parametrize(
    "backbone",
    [
        "resnet_50",
        "gc_vit_xxtiny",
        "gc_vit_xtiny",
        "gc_vit_tiny",
        "gc_vit_small",
        "gc_vit_base",
        "gc_vit_large",
    ],
)
def test_the_pages_backbones_are_accepted(backbone: str, tmp_path: Path) -> None:
    """The seven names of the page."""
    assert (
        loaded_from(f"model: {{backbone: {backbone}}}", tmp_path)["model"]["backbone"] == backbone
    )


@pytest.mark.parametrize("path", [*SPECS.glob("*.yaml"), *RECIPES.glob("*.yaml")], ids=str)
def test_the_json_schema_takes_every_spec(path: Path) -> None:
    """Those of the page and ours: an editor marks nothing in them."""
    tree = read_spec_file(path)
    schema = json_schema(model_of(tree))
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(tree.values)) == []
