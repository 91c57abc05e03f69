"""The root README and docs/specs: what they show exists and works."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer.main
import yaml
from PIL import Image

from ddetr_cli.app import app
from ddetr_cli.spec import Experiment, load_spec

ROOT = Path(__file__).resolve().parent.parent
SPECS = sorted((ROOT / "docs" / "specs").glob("*.yaml"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "packages").glob("*/README.md")),
]
READMES_WITH_TORCH = [ROOT / "README.md", *sorted((ROOT / "packages").glob("*/README.md"))]
HIDDEN = {"demo", "results", "node_modules"}
MARKDOWN = [
    path
    for path in sorted(ROOT.rglob("*.md"))
    if not any(part in HIDDEN or part.startswith(".") for part in path.relative_to(ROOT).parts[:-1])
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text("utf-8")
    return [body for name, body in FENCED.findall(text) if name == language]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_spec_of_the_documentation_loads(path: Path) -> None:
    """Every spec that a reader may start from is accepted as it stands."""
    load_spec(Experiment, path)


def test_the_python_in_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small network's spec and an image, it trains, detects and draws."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DDETR_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(ROOT)
    from proofs.small_project import make_project

    make_project(tmp_path)
    Image.new("RGB", (64, 48)).save("image.jpg")
    (block,) = blocks("python")
    exec(compile(block, "README.md", "exec"), {})
    assert Image.open("drawn.jpg").size == (64, 48)


def test_the_commands_in_the_readme_exist() -> None:
    """Every make target and every subtask that the README types is there."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    targets = {words[1] for line in lines if (words := line.split())[:1] == ["make"]}
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert targets == {"demo", "test"}
    assert all(re.search(rf"(?m)^{target}:", makefile) for target in targets)
    typed = {line.split()[1] for line in lines if line.startswith("ddetr ")}
    assert typed <= set(typer.main.get_command(app).commands)


def test_a_cited_benchmark_has_its_figures() -> None:
    """Every script that a page cites a figure of is there, and so is what it printed."""
    cited = {
        name for page in PAGES for name in re.findall(r"\bbench_(\w+)\.py", page.read_text("utf-8"))
    }
    results = {path.stem for path in (ROOT / "benchmarks" / "results").glob("*.json")}
    for name in cited:
        assert (ROOT / "benchmarks" / f"bench_{name}.py").exists(), name
        assert any(result.startswith(name) for result in results), name


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_leads_nowhere(page: Path) -> None:
    """A link or image inside the repository names what exists, its anchor a heading of it."""
    for target in LINK.findall(re.sub(r"`[^`\n]*`", "", without_blocks(page))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = page.parent / name if name else page
        assert found.exists(), f"{page}: {target}"
        if anchor:
            shown = found / "README.md" if found.is_dir() else found
            assert anchor in anchors(shown), f"{page}: {target}"


def without_blocks(page: Path) -> str:
    return re.sub(r"(?sm)^```.*?^```", "", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them."""
    headings = re.findall(r"(?m)^#+ (.*)$", without_blocks(page))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_leads_to_the_start_page() -> None:
    """Which leads to every other one."""
    linked = set(LINK.findall((ROOT / "README.md").read_text("utf-8")))
    assert "docs/index.md" in linked


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.stem
)
def test_a_workflow_runs_what_is_there(path: Path) -> None:
    """Every target and script of a step exists; what needs hatch and uv goes through make."""
    workflow = yaml.safe_load(path.read_text("utf-8"))
    makefile = (ROOT / "Makefile").read_text("utf-8")
    jobs = workflow["jobs"].values()
    commands = [step["run"] for job in jobs for step in job.get("steps", []) if "run" in step]
    for target in re.findall(r"make ([\w-]+)", "\n".join(commands)):
        assert re.search(rf"(?m)^{target}:", makefile), target
    for script in re.findall(r"(?:python|bash) (?!-)([\w./-]+)", "\n".join(commands)):
        assert (ROOT / script).exists(), script
    assert not any("hatch run" in command for command in commands)


def test_the_citation_is_one() -> None:
    """CITATION.cff keeps to its schema, and names the address and the licence of the packages."""
    path = ROOT / "CITATION.cff"
    cited = yaml.safe_load(path.read_text("utf-8"))
    manifest = (ROOT / "packages" / "ddetr-ops" / "pyproject.toml").read_text("utf-8")
    assert f'Repository = "{cited["repository-code"]}"' in manifest
    assert f'license = "{cited["license"]}"' in manifest
    if shutil.which("check-jsonschema") is None:
        pytest.skip("check-jsonschema is not installed; it comes with `make setup`")
    command = ["check-jsonschema", "--builtin-schema", "vendor.citation-file-format", str(path)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("name", ["fault", "wish"])
def test_a_form_for_issues_asks_for_what_is_needed(name: str) -> None:
    """It has a name, and fields with an id and a label; packages are those that there are."""
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE" / f"{name}.yml").read_text("utf-8"))
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["attributes"]["label"] for field in fields)
    for field in fields:
        if field["id"] == "package":
            named = [each for each in field["attributes"]["options"] if each.startswith("ddetr-")]
            assert sorted(named) == sorted(path.name for path in (ROOT / "packages").iterdir())


def test_faults_of_security_are_told_in_private() -> None:
    """SECURITY.md says how, and the form for faults sends people there."""
    assert "in private" in (ROOT / "SECURITY.md").read_text("utf-8")
    assert "SECURITY.md" in (ROOT / ".github/ISSUE_TEMPLATE/fault.yml").read_text("utf-8")


def test_files_are_as_the_editors_settings_say() -> None:
    """UTF-8, ends of lines and of files, no spaces at ends of lines."""
    settings = (ROOT / ".editorconfig").read_text("utf-8")
    assert settings.startswith("root = true\n")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no git repository")
    for name in listed.stdout.splitlines():
        content = (ROOT / name).read_bytes()
        if b"\0" in content or not content or "/tests/" in name or name.startswith("tests/"):
            continue
        text = content.decode("utf-8")
        assert "\r" not in text, name
        assert text.endswith("\n"), name
        assert not re.search(r"[ \t]$", text, re.MULTILINE), name


@pytest.mark.parametrize("page", READMES_WITH_TORCH, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_index_for_cpus_is_told_where_torch_is_installed(page: Path) -> None:
    """Without it an installation brings gigabytes for GPUs."""
    assert "--index-url https://download.pytorch.org/whl/cpu" in page.read_text("utf-8")
