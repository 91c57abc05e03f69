"""Gather the pages of the documentation site in build/site/pages.

    python scripts/site_pages.py

Each text stays where it is: pages of docs/, the packages' READMEs, CONTRIBUTING.md, and a notebook.
Links between them are the repository's own; here they are rewritten for the site, and what is no
page leads to the repository. The reference of names is a page a package, of its faces' `__all__`.
mkdocs.yml has the rest. As a hook of MkDocs this keeps the pages up to date while it serves them.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from import_graph import all_of, is_face, is_wing, modules, names_of_face, tree_of

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "build" / "site" / "pages"
STYLE = ROOT / "docs" / "site.css"
REPOSITORY = "https://ddetr.example/ddetr"
ASSETS = {".ipynb", ".png", ".svg", ".yaml"}  # shown or kept beside the pages; the rest is linked
MARKED = re.compile(r"(?ms)^```.*?^```|`[^`\n]*`|\]\(([^)\s]+)\)")


def page_names() -> dict[Path, str]:
    """Give each source of a page, from the repository's root, and its name on the site."""
    found = {
        "CONTRIBUTING.md": "contributing.md",
        "SECURITY.md": "security.md",
        "benchmarks/README.md": "benchmarks.md",
    }
    for path in sorted(ROOT.glob("packages/*/README.md")):
        found[f"packages/{path.parent.name}/README.md"] = f"packages/{path.parent.name}.md"
    for path in sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("docs/*.ipynb")]):
        found[f"docs/{path.name}"] = f"{path.stem}.md"
    return {ROOT / source: name for source, name in found.items()}


def site_files() -> dict[str, bytes]:
    """Give every file of the site's sources by its name: pages, what they show, the reference.

    Raises:
        ValueError: a link leads nowhere; the text names the page.
    """
    files = {STYLE.name: STYLE.read_bytes()}
    for source, name in page_names().items():
        text = source.read_text("utf-8")
        if source.suffix == ".ipynb":
            text = notebook_text(json.loads(text), source.name)
            files[source.name] = source.read_bytes()
        files[name] = _with_links(text, source, name, files).encode()
    for module, page in reference_pages().items():
        files[f"reference/{module}.md"] = page.encode()
    return files


def _with_links(text: str, source: Path, name: str, files: dict[str, bytes]) -> str:
    """Rewrite the links of a page; the files that it shows are added to those of the site."""

    def rewritten(match: re.Match[str]) -> str:
        target = match[1]
        if target is None or re.match(r"[a-z]+:|#", target):
            return match[0]
        path, hash_sign, anchor = target.partition("#")
        return f"]({_link(source, path, name, files)}{hash_sign}{anchor})"

    return MARKED.sub(rewritten, text)


def _link(source: Path, path: str, name: str, files: dict[str, bytes]) -> str:
    found = Path(os.path.normpath(source.parent / path))
    if not found.exists():
        raise ValueError(f"{source.relative_to(ROOT)}: the link {path} leads nowhere")
    page = page_names().get(found / "README.md" if found.is_dir() else found)
    if page is None and found.suffix in ASSETS:
        page = found.relative_to(ROOT).as_posix().removeprefix("docs/")
        files[page] = found.read_bytes()
    if page is None:
        kind = "tree" if found.is_dir() else "blob"
        return f"{REPOSITORY}/{kind}/main/{found.relative_to(ROOT).as_posix()}"
    return os.path.relpath(page, Path(name).parent)


def notebook_text(notebook: dict[str, Any], name: str) -> str:
    """Give a notebook as Markdown: its texts, and its code in blocks."""
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join([parts[0], f"As a notebook: [{name}]({name}).", *parts[1:]]) + "\n"


def reference_pages() -> dict[str, str]:
    """Give a page for each package, and for `ddetr`, of the names that its faces promise."""
    face = ROOT / "packages" / "ddetr-cli" / "src" / "ddetr" / "__init__.py"
    pages = {"ddetr": _reference("ddetr", all_of(tree_of(face)), "#")}
    for module in sorted(name for name in modules() if "." not in name):
        pages[module] = _reference(module, names_of_face(module), "#")
    for module in sorted(filter(is_wing, modules())):
        if is_face(module) and names_of_face(module):
            pages[module.partition(".")[0]] += _reference(module, names_of_face(module), "##")
    return pages


def _reference(module: str, names: frozenset[str], heading: str) -> str:
    shown = sorted(names - {"__version__"}, key=str.lower)
    options = f"    options:\n      heading_level: {len(heading) + 1}\n      members: {shown}\n"
    return f"{heading} {module}\n\n::: {module}\n{options}\n"


def write_pages() -> None:
    """Write what has changed, and remove what is no longer there."""
    files = site_files()
    for path in sorted(TARGET.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(TARGET).as_posix() not in files:
            path.unlink()
    for name, content in files.items():
        path = TARGET / name
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def on_pre_build(config: Any) -> None:
    """Bring the pages up to date before MkDocs reads them."""
    del config
    write_pages()


def on_serve(server: Any, *, config: Any, builder: Any) -> Any:
    """Watch the texts themselves, not what was gathered of them: an edit is one build."""
    del builder
    server.unwatch(config.docs_dir)
    return server


if __name__ == "__main__":
    try:
        write_pages()
    except ValueError as error:
        sys.exit(str(error))
