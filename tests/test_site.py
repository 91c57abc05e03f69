"""The documentation site: its pages and its navigation agree, what pages say of the code holds."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import site_pages
import typer.main
import yaml

from ddetr_cli.app import app
from ddetr_cli.spec import Experiment, dotted, known_keys

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
MKDOCS = ROOT / ".bootstrap" / "docs" / "bin" / "mkdocs"
OF_OTHERS = {"spec.md", "tao.md"}  # which list keys that are not ours
KEY = re.compile(
    r"`((?:model|dataset|train|evaluate|inference|export|gen_trt_engine)\.[a-z_.]+)(?:[=:[][^`]*)?`"
)
FILES = (".onnx", ".json", ".pth", ".engine", ".yaml")


class Settings(yaml.SafeLoader):
    """Reads mkdocs.yml, whose tags are of no use here."""


Settings.add_multi_constructor("", lambda *_: None)


def navigation(entries: Any) -> list[str]:
    """Name the pages of a navigation, in its order."""
    if isinstance(entries, str):
        return [entries]
    values = entries.values() if isinstance(entries, dict) else entries
    return [page for value in values for page in navigation(value)]


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), Settings)
    return loaded


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """All sources of the site; that they can be gathered says that no link leads nowhere."""
    return site_pages.site_files()


def test_the_navigation_has_every_page_once(
    settings: dict[str, Any], files: dict[str, bytes]
) -> None:
    """And none that is not there: of docs/, of packages, the notebook, the reference."""
    listed = navigation(settings["nav"])
    assert sorted(listed) == sorted(name for name in files if name.endswith(".md"))


def test_the_start_page_leads_to_every_page_of_docs() -> None:
    """On the site the navigation does, in the repository this page."""
    linked = set(re.findall(r"\]\(([\w-]+\.\w+)", (DOCS / "index.md").read_text("utf-8")))
    assert {path.name for path in PAGES} - {"index.md"} <= linked
    assert "notebook.ipynb" in linked


def test_nothing_of_the_site_is_fetched_when_it_is_read(settings: dict[str, Any]) -> None:
    """No fonts of Google's, no scripts but the theme's own."""
    assert settings["theme"]["font"] is False
    assert "extra_javascript" not in settings
    assert not [name for name in settings["extra_css"] if "//" in name]


def test_links_lead_to_pages_files_and_the_repository(files: dict[str, bytes]) -> None:
    """A README is a page, a drawing comes along, a source file is the repository's."""
    page = files["architecture.md"].decode()
    assert "](packages/ddetr-model.md#the-architecture-in-one-picture)" in page
    assert "](images/architecture.svg)" in page
    assert "images/architecture.svg" in files
    address = f"{site_pages.REPOSITORY}/blob/main/packages/ddetr-data/src/ddetr_data/faults.py"
    assert f"]({address})" in page


def test_the_address_of_the_repository_is_the_manifests() -> None:
    """It changes with theirs."""
    for path in ROOT.glob("packages/*/pyproject.toml"):
        assert f'Repository = "{site_pages.REPOSITORY}"' in path.read_text("utf-8")


def test_the_reference_has_every_name_of_the_faces(files: dict[str, bytes]) -> None:
    """Those of packages, of wings, and of the module ddetr."""
    page = files["reference/ddetr_data.md"].decode()
    assert "::: ddetr_data\n" in page
    assert "::: ddetr_data.coco\n" in page
    assert "'load_sources'" in page
    assert "'train'" in files["reference/ddetr.md"].decode()


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    """With the page that has it."""
    with pytest.raises(ValueError, match=r"README\.md: the link no/page\.md leads nowhere"):
        site_pages._link(ROOT / "README.md", "no/page.md", "index.md", {})


def test_the_site_is_built_strictly(tmp_path: Path) -> None:
    """All but the reference of names, which `make docs` builds too, as CI does."""
    if not MKDOCS.exists():
        pytest.skip("the documentation's environment is not there; `make docs` makes it")
    command = [MKDOCS, "build", "--strict", "--quiet", "--site-dir", tmp_path]
    variables = {"DDETR_SITE_REFERENCE": "false", "NO_MKDOCS_2_WARNING": "1"}
    site_pages.write_pages()
    built = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | variables
    )
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "search" / "search_index.json").is_file()


@cache
def keys() -> frozenset[str]:
    """All keys of a spec, and the blocks that they are in."""
    found = [path for path, _ in known_keys(Experiment)]
    return frozenset(dotted(path[:length]) for path in found for length in range(1, len(path) + 1))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_key_that_a_page_names_exists(page: Path) -> None:
    """In texts, tables and commands; also in those that only a GPU can run."""
    text = page.read_text("utf-8")
    named = set() if page.name in OF_OTHERS else {match[1] for match in KEY.finditer(text)}
    for line in commands(text):
        named |= {word.partition("=")[0] for word in line if re.match(r"[a-z_]+\.[a-z_.]+=", word)}
    assert not {name for name in named if name not in keys() and not name.endswith(FILES)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_command_that_a_page_types_exists(page: Path) -> None:
    """Its subtask, and its block says that it is one of a shell."""
    text = page.read_text("utf-8")
    known = {*typer.main.get_command(app).commands, "model", "deploy"}
    assert {words[1] for words in commands(text)} <= known
    assert not re.search(r"(?m)^```\n(?:ddetr|make|pip|python) ", text)


def commands(text: str) -> list[list[str]]:
    """Words of every line that begins with ddetr, variables and launchers in front of it aside."""
    blocks = "".join(re.findall(r"(?ms)^```sh\n(.*?)^```", text))
    joined = blocks.replace("\\\n", " ").splitlines()
    lines = [shlex.split(line, comments=True) for line in joined]
    return [line[line.index("ddetr") :] for line in lines if "ddetr" in line]


@cache
def texts_of_the_sources() -> tuple[str, ...]:
    """Every text in the packages' code, with … for what an f-string puts in."""
    found = []
    for path in ROOT.glob("packages/*/src/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (getattr(each, "value", "…") for each in node.values)
                found.append("".join(each if isinstance(each, str) else "…" for each in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return tuple(found)


SENTENCES = [
    sentence
    for row in re.findall(r"(?m)^\| (`.*?`) \| ", (DOCS / "troubleshooting.md").read_text("utf-8"))
    for sentence in re.findall(r"`([^`]+)`", row)
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_of_troubleshooting_is_one_of_ours(sentence: str) -> None:
    """Its parts stand in one text of the code, in this order."""
    parts = [re.escape(part.strip()) for part in sentence.split("…")]
    pattern = re.compile(".*".join(parts), re.DOTALL)
    assert any(pattern.search(text) for text in texts_of_the_sources())
