"""The workflows, and the checks of pre-commit, which are those of .ci/run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RELEASE = ROOT / ".github" / "workflows" / "release.yml"
PINNED = re.compile(r"[\w.-]+(/[\w.-]+)+@[0-9a-f]{40} # v\d+(\.\d+)*")


def loaded(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return content


def steps_of(path: Path) -> list[dict[str, Any]]:
    return [step for job in loaded(path)["jobs"].values() for step in job.get("steps", [])]


def settings() -> dict[str, Any]:
    content: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    environments: dict[str, Any] = content["tool"]["hatch"]["envs"]
    return environments


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_an_action_is_pinned_to_a_commit(path: Path) -> None:
    """With the version behind it; one version of each action in all workflows."""
    for line in re.findall(r"(?m)^\s*(?:- )?uses: (.*)$", path.read_text("utf-8")):
        if line.startswith("./"):
            assert (ROOT / line.partition(" ")[0]).exists(), line
        else:
            assert PINNED.fullmatch(line), line


def test_an_action_has_one_version() -> None:
    """What moves one pin moves all."""
    texts = "\n".join(path.read_text("utf-8") for path in WORKFLOWS)
    pins: dict[str, set[str]] = {}
    for action, pin in re.findall(r"uses: ([^@\s.]\S*?)@(.*)", texts):
        pins.setdefault(action, set()).add(pin)
    assert {action: len(found) for action, found in pins.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_no_more_rights_than_it_needs(path: Path) -> None:
    """Reading is the most for all jobs; checkouts keep no password; no text becomes a command."""
    assert loaded(path)["permissions"] in ({}, {"contents": "read"})
    for step in steps_of(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        assert "${{" not in step.get("run", "")


def test_only_publishing_may_ask_for_an_identity() -> None:
    """One job, in the environment that the index trusts, which runs no command of ours."""
    jobs = loaded(RELEASE)["jobs"]
    asking = [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})]
    assert asking == ["publish"]
    assert jobs["publish"]["environment"] == "pypi"
    assert not any("run" in step for step in jobs["publish"]["steps"])
    assert [
        name
        for name, job in jobs.items()
        if "contents" in job.get("permissions", {}) and job["permissions"]["contents"] == "write"
    ] == ["page"]


def test_a_tag_is_checked_before_it_is_published() -> None:
    """Tag, floors, tests, siblings on the index; then its files, its notes and its contents."""
    commands = "\n".join(step.get("run", "") for step in steps_of(RELEASE))
    for word in ("check", "floors", "published", "notes"):
        assert f'make release ARGS="{word} $GITHUB_REF_NAME' in commands
    assert "make release-files" in commands
    jobs = loaded(RELEASE)["jobs"]
    assert "GITHUB_REF_NAME" in jobs["check"]["steps"][0]["run"]  # make hands it to a shell
    assert jobs["files"]["needs"] == jobs["ops-wheels"]["needs"] == "check"
    assert set(jobs["publish"]["needs"]) == {"files", "ops-wheels"}
    assert jobs["ops-wheels"]["uses"] == "./.github/workflows/ops-wheels.yml"


def test_every_artifact_that_is_published_is_made() -> None:
    """Compiled wheels come from the workflow that is called, under names that are taken."""
    made = [
        step["with"]["name"]
        for path in (RELEASE, ROOT / ".github" / "workflows" / "ops-wheels.yml")
        for step in steps_of(path)
        if "upload-artifact" in step.get("uses", "")
    ]
    (pattern,) = [
        step["with"]["pattern"]
        for step in loaded(RELEASE)["jobs"]["publish"]["steps"]
        if "download-artifact" in step["uses"]
    ]
    assert {name for name in made if not fnmatch(name, pattern)} == {"about"}


@pytest.mark.parametrize("tool", ["zizmor", "check-jsonschema"])
def test_a_linter_of_workflows_is_content(tool: str) -> None:
    """The same commands as in `make lint`."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed; `make lint` installs and runs it")
    (command,) = [
        line for line in settings()["default"]["scripts"]["lint"] if line.startswith(tool)
    ]
    ran = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_pre_commit_checks_what_ci_checks() -> None:
    """Each command of `make lint`, in the same version, and each target of .ci/run."""
    hooks = loaded(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    declared = set(settings()["default"]["dependencies"])
    for hook in hooks:
        assert set(hook.get("additional_dependencies", [])) <= declared, hook["id"]
    entries = [hook["entry"].replace(" --force-exclude", "").split() for hook in hooks]
    for line in settings()["default"]["scripts"]["lint"]:
        words = [word for word in line.split() if word not in (".", "--quiet")]
        paths = [word for word in words if word.startswith(".github/")]
        wanted = [word for word in words if word not in paths]
        assert wanted in [[w for w in entry if w != "--quiet"] for entry in entries], line
    targets = re.findall(r"(?m)^make (\S+)", (ROOT / ".ci" / "run").read_text("utf-8"))
    assert {f"make {target}" for target in targets} == {
        "make lint",
        *(hook["entry"] for hook in hooks if hook["entry"].startswith("make ")),
    }
