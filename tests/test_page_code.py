"""The code of the pages runs, in order, as a reader would type it, on a small set and network.

What needs a GPU, another machine or a tool says so in its first line and is not run. Pages on parts
of one's own, on the operator and on other projects have their own tests.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ddetr_data import ConvertConfig
from ddetr_data.convert import convert

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
ELSEWHERE = {"extending.md", "deformable-attention.md", "other-projects.md", "index.md"}
WITH_CODE = [
    path
    for path in sorted(DOCS.glob("*.md"))
    if path.name not in ELSEWHERE
    and ("```sh\n" in (text := path.read_text("utf-8")) or "```python\n" in text)
]


@pytest.fixture(scope="module")
def started(run_page: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A reader's folder after the start page, and where the folders lie that pages name."""
    folder = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        patch.chdir(folder)
        patch.setenv("DDETR_CACHE", str(folder / "cache"))
        from proofs.small_project import make_project

        make_project(folder)
        labelled_folders(folder)
    names = ("mine", "yolo", "roboflow", "new")
    instead = {f"/data/{name}": str(folder / name) for name in names}
    found, _ = run_page(DOCS / "index.md", "index", folder, instead)
    assert Image.open(folder / "drawn.jpg").size == (64, 64)
    assert found["model"].categories
    return folder, instead


def labelled_folders(folder: Path) -> None:
    """The same images as COCO, as Roboflow exports it, as YOLO, and without labels."""
    images = folder / "data" / "images"
    labels = {
        name: folder / "data" / "annotations" / f"instances_{name}.json"
        for name in ("train", "val")
    }
    shutil.copytree(images / "train", folder / "mine")
    shutil.copy(labels["train"], folder / "mine" / "annotations.json")
    for name, split in (("train", "train"), ("val", "valid")):
        shutil.copytree(images / name, folder / "roboflow" / split)
        content = json.loads(labels[name].read_text("utf-8"))
        content["categories"].append({"id": 0, "name": "shapes"})
        (folder / "roboflow" / split / "_annotations.coco.json").write_text(json.dumps(content))
        shutil.copytree(images / name, folder / "yolo" / name / "images")
        convert(
            ConvertConfig(
                format="coco_to_yolo",
                input_source=str(labels[name]),
                results_dir=str(folder / "yolo" / name),
                workers=1,
            )
        )
    (folder / "yolo" / "data.yaml").write_text(
        "{train: train/images, val: val/images, names: [circle, square, triangle]}"
    )
    (folder / "new").mkdir()
    shutil.copy(next(iter(sorted((images / "val").iterdir()))), folder / "new" / "image.jpg")


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page: Path, started: Any, run_page: Any) -> None:
    """Each line of a shell and each block of Python, after what the start page has left."""
    folder, instead = started
    run_page(page, page.stem.replace("-", "_"), folder, instead)
    for name in ("spec.schema.json",):
        (folder / name).unlink(missing_ok=True)


def test_the_notebook_runs_and_is_stored_without_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cell after cell in one module; what its cells end with can be shown."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))
    notebook = json.loads((DOCS / "notebook.ipynb").read_text("utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    names: dict[str, Any] = {"__name__": "notebook"}
    for number, cell in enumerate(notebook["cells"], start=1):
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            exec(compile("".join(cell["source"]), f"notebook, cell {number}", "exec"), names)
    assert names["found"]._repr_html_().startswith("<div><img")
