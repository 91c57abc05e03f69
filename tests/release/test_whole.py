"""A release is refused before it writes, and whatever fails or is killed leaves no half of it."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# A checkout is what tests/release/conftest.py gives: four packages, released as 0.1.0.
Checkout = Any

SCRIPT = Path(__file__).resolve().parent.parent.parent / "scripts" / "release.py"
GIT = """#!/bin/sh
# Writes down each call, and spoils the first one that begins with WORDS.
echo "$*" >> {log}
case "$*" in "{words}"*) if [ ! -e {log}.done ]; then
    touch {log}.done
    {spoiled}
fi ;; esac
exec {real} "$@"
"""
SPOILED = {
    "fails": 'echo "fatal: write error: No space left on device" >&2; exit 128',
    "fails when done": '{real} "$@" > /dev/null 2>&1; echo "fatal: lost" >&2; exit 128',
    "is killed before": "kill -9 $PPID; exit 0",
    "is killed after": '{real} "$@" > /dev/null 2>&1; kill -9 $PPID; exit 0',
}
WRITES = ("worktree add", "add --all", "commit", "push")


@pytest.fixture
def changed(checkout: Checkout) -> Checkout:
    """The operator and the data have changed, and the model has a range to move."""
    checkout.write("ddetr-ops/changelog.d/faster.changed.md", "The operator is faster.")
    checkout.write("ddetr-data/changelog.d/png.fixed.md", "PNG files are read.")
    return checkout


def spoil(folder: Path, words: str, how: str) -> str:
    """Make a git that fails at one call; give the folder for the PATH."""
    real = shutil.which("git")
    folder.mkdir()
    text = GIT.format(
        log=folder / "calls", words=words, spoiled=SPOILED[how].format(real=real), real=real
    )
    (folder / "git").write_text(text)
    (folder / "git").chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("words", "how"), [*((words, "fails") for words in WRITES), ("push", "fails when done")]
)
def test_a_step_that_fails_is_undone(
    changed: Checkout, tmp_path: Path, words: str, how: str
) -> None:
    """Files, index, HEAD and tags are as before, and the next try succeeds."""
    before = changed.state()
    done = changed.run("train", path=spoil(tmp_path / "spoiled", words, how))
    assert done.returncode == 2
    assert done.stderr.startswith(f"release: git {words.split()[0]} fails: fatal: ")
    assert done.stderr.count("\n") == 1
    assert changed.state() == before
    assert not list(Path(changed.git("rev-parse", "--absolute-git-dir")).glob("ddetr-release*"))
    changed.released("train")


@pytest.mark.parametrize(
    ("words", "how"),
    [*((words, "is killed after") for words in WRITES), ("push", "is killed before")],
)
def test_a_killed_release_is_whole_or_nothing(
    changed: Checkout, tmp_path: Path, words: str, how: str
) -> None:
    """Only after the last step everything is there; the next try cleans up and succeeds."""
    before = changed.state()
    done = changed.run("train", path=spoil(tmp_path / "spoiled", words, how))
    assert done.returncode == -9
    if (words, how) == ("push", "is killed after"):
        assert changed.state()["status"] == ""
        assert len(changed.git("tag", "--points-at", "HEAD").split()) == 3
        assert '"ddetr-ops>=0.1,<0.3"' in changed.manifest("ddetr-model")
        return
    assert changed.state() == before
    changed.released("train")
    assert len(changed.git("worktree", "list").splitlines()) == 1


def test_no_room_on_the_disk_is_told_before_anything_moves(changed: Checkout) -> None:
    """Here files may have a mebibyte at most."""
    before = changed.state()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "train", "--root", str(changed.root)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20)),
    )
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert changed.state() == before


@pytest.mark.parametrize(
    "hook", ["pre-commit", "commit-msg", "post-checkout", "reference-transaction"]
)
def test_a_hook_that_refuses_ends_the_release(changed: Checkout, hook: str) -> None:
    """With what the hook has said."""
    before = changed.state()
    path = changed.root / ".git" / "hooks" / hook
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\necho no such day >&2\nexit 1\n")
    path.chmod(0o755)
    done = changed.run("train")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    path.unlink()
    assert changed.state() == before


def test_a_hook_that_refuses_tags_leaves_the_files(changed: Checkout) -> None:
    """It is asked in the last step, after the files have moved; they come back."""
    before = changed.state()
    path = changed.root / ".git" / "hooks" / "reference-transaction"
    path.parent.mkdir(exist_ok=True)
    path.write_text('#!/bin/sh\n! grep -q refs/tags/ || [ "$1" != prepared ]\n')
    path.chmod(0o755)
    assert changed.run("train").returncode == 2
    path.unlink()
    assert changed.state() == before


def test_foreign_files_stay_out_of_the_commit(changed: Checkout) -> None:
    """One that is not known to git is let alone, as long as it lies in no package."""
    (changed.root / "notes.txt").write_text("mine")
    changed.released("train")
    assert changed.git("status", "--porcelain") == "?? notes.txt"
    committed = changed.git("show", "--name-only", "--format=", "HEAD").splitlines()
    assert all(path.startswith("packages/") for path in committed)


def stage(checkout: Checkout) -> None:
    (checkout.root / "foreign.txt").touch()
    checkout.git("add", "foreign.txt")


def change(checkout: Checkout) -> None:
    (checkout.root / "pyproject.toml").write_text("# changed")


def forget(checkout: Checkout) -> None:
    (checkout.root / "packages" / "ddetr-ops" / "forgotten.py").touch()


def hollow(checkout: Checkout) -> None:
    empty(checkout)
    path = checkout.root / "packages" / "ddetr-ops" / "CHANGELOG.md"
    path.write_text(path.read_text() + "\n## [0.2.0] - unreleased\n")
    checkout.git("commit", "--all", "--quiet", "--message", "a title")


def empty(checkout: Checkout) -> None:
    checkout.git("rm", "--quiet", "packages/ddetr-ops/changelog.d/faster.changed.md")
    checkout.git("commit", "--quiet", "--message", "less")


@pytest.mark.parametrize(
    ("prepare", "words", "sentence"),
    [
        (stage, "ddetr-ops 0.2.0", "foreign.txt is staged and not committed"),
        (change, "ddetr-ops 0.2.0", "pyproject.toml is changed and not committed"),
        (forget, "train", "packages/ddetr-ops/forgotten.py is not committed and not ignored"),
        (empty, "ddetr-ops 0.2.0", "packages/ddetr-ops/changelog.d is empty: nothing has changed"),
        (hollow, "ddetr-ops 0.2.0", "ddetr-ops's changelog says nothing of 0.2.0"),
        (None, "ddetr-ops 0.1.0", "the tag ddetr-ops-v0.1.0 exists"),
        (None, "ddetr-ops 0.0.9", "ddetr-ops is at 0.1.0, beyond 0.0.9"),
        (None, "ddetr-ops 0.2", "a version reads like 0.2.0"),
        (None, "ddetr-none 0.2.0", "there is no package 'ddetr-none', only ddetr-data"),
        (None, "../ddetr-ops 0.2.0", "there is no package '../ddetr-ops'"),
        (None, ". 0.2.0", "there is no package '.'"),
        (None, "train ../ops=0.2.0", "there is no package '../ops'"),
    ],
)
def test_a_release_that_may_not_be_is_refused(
    changed: Checkout, prepare: Any, words: str, sentence: str
) -> None:
    """One sentence, exit status 2, and nothing is written."""
    if prepare:
        prepare(changed)
    before = changed.state()
    done = changed.run(*words.split())
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert changed.state() == before


def test_the_same_version_without_its_tag_is_refused(changed: Checkout) -> None:
    """__about__ states it already."""
    changed.git("tag", "--delete", "ddetr-ops-v0.1.0")
    assert "is at 0.1.0 already, after which come 0.1.1" in changed.run("ddetr-ops", "0.1.0").stderr


def test_releases_are_made_on_their_branch(changed: Checkout) -> None:
    """Another one is refused unless it is named, and so is a commit without a branch."""
    changed.git("switch", "--quiet", "--create", "topic")
    done = changed.run("ddetr-ops", "0.2.0")
    assert (done.returncode, done.stderr) == (
        2,
        "release: the branch is topic, and releases are made on main (or name --branch)\n",
    )
    changed.released("ddetr-ops", "0.2.0", "--branch", "topic")
    changed.git("switch", "--quiet", "--detach")
    done = changed.run("ddetr-data", "0.1.1")
    assert done.returncode == 2
    assert "HEAD is detached" in done.stderr


def test_a_linked_checkout_may_release(changed: Checkout, tmp_path: Path) -> None:
    """The branch moves with the files of the checkout that has it."""
    changed.git("switch", "--quiet", "--create", "other")
    changed.git("worktree", "add", "--quiet", str(tmp_path / "linked"), "main")
    linked = type(changed)(tmp_path / "linked")
    linked.released("train")
    assert linked.state()["status"] == ""
    assert linked.version("ddetr-ops") == "0.2.0"
    assert changed.version("ddetr-ops") == "0.1.0"


def test_a_folder_without_git_is_refused(changed: Checkout, tmp_path: Path) -> None:
    """So is one inside of a repository."""
    bare = tmp_path / "bare"
    shutil.copytree(changed.root, bare, ignore=shutil.ignore_patterns(".git"))
    done = type(changed)(bare).run("train")
    assert (done.returncode, done.stderr) == (2, f"release: {bare} is no git repository\n")
    inner = type(changed)(changed.root / "packages" / "ddetr-ops")
    assert "is not the top of its git repository" in inner.run("train").stderr


def test_missing_programs_are_named(changed: Checkout, tmp_path: Path) -> None:
    """git before anything, towncrier where fragments would need it."""
    environment = {"PATH": str(tmp_path)}
    words = [sys.executable, str(SCRIPT), "ddetr-ops", "0.2.0", "--root", str(changed.root)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (2, "release: git is not on the PATH\n")
    before = changed.state()
    for missing in ("towncrier", "packaging"):
        hiding = f'import sys\n\nsys.modules["{missing}"] = None\n'
        folder = tmp_path / missing  # one each: what is compiled of both looks alike to Python
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(hiding)
        environment = os.environ | {"PYTHONPATH": str(folder)}
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        assert (done.returncode, done.stderr) == (
            2,
            f"release: {missing} is not installed here: use .venv/bin/python\n",
        )
    assert changed.state() == before


def test_two_releases_at_a_time_are_refused(changed: Checkout) -> None:
    """The second one is; a lock that a killed one left behind is none."""
    (changed.root / ".git" / "ddetr-release.lock").touch()
    changed.released("ddetr-ops", "0.2.0")
    import fcntl

    with (changed.root / ".git" / "ddetr-release.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = changed.run("ddetr-data", "0.1.1")
    assert (done.returncode, done.stderr) == (
        2,
        "release: another release of this repository is at work\n",
    )
