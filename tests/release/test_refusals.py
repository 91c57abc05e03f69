"""What a release refuses: states of git, of changelogs and of manifests that it cannot release."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# A checkout is what tests/release/conftest.py gives: four packages, released as 0.1.0.
Checkout = Any

SCRIPT = Path(__file__).resolve().parent.parent.parent / "scripts" / "release.py"
OPS = "packages/ddetr-ops"
DATED = "\n## [0.2.0] - 2026-01-01\n\n- It was out.\n"
TITLES = "\n## [0.2.0] - unreleased\n\n- One.\n\n## [0.1.1] - unreleased\n\n- Two.\n"
USED = "from ddetr_ops import attend, nothing\n\n__all__ = []\n"


@pytest.fixture
def changed(checkout: Checkout) -> Checkout:
    """The operator has changed, and the model has a range to move."""
    checkout.write("ddetr-ops/changelog.d/faster.changed.md", "The operator is faster.")
    return checkout


def refused(checkout: Checkout, *words: str) -> str:
    """Run the release script, which must refuse in a sentence and change nothing."""
    before = checkout.state()
    done = checkout.run(*(words or ("ddetr-ops", "0.2.0")))
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert checkout.state() == before
    return str(done.stderr)


@pytest.mark.parametrize("name", ["ü.py", "a b.py", 'a"b.py'])
def test_a_forgotten_file_is_refused_whatever_its_name(changed: Checkout, name: str) -> None:
    """Also where git is set to show no files that it does not know."""
    changed.git("config", "status.showUntrackedFiles", "no")
    (changed.root / OPS / name).touch()
    assert f"{OPS}/{name} is not committed and not ignored: commit it" in refused(changed)


@pytest.mark.parametrize("option", ["--assume-unchanged", "--skip-worktree"])
def test_a_file_that_git_overlooks_is_refused(changed: Checkout, option: str) -> None:
    """Its changes show nowhere, and would be lost or stop the last step."""
    changed.git("update-index", option, f"{OPS}/CHANGELOG.md")
    assert f"overlook changes of {OPS}/CHANGELOG.md" in refused(changed)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("MERGE_HEAD", "a merge"),
        ("CHERRY_PICK_HEAD", "a cherry-pick"),
        ("REVERT_HEAD", "a revert"),
        ("rebase-merge", "a rebase"),
        ("index.lock", "another git command"),
    ],
)
def test_what_is_under_way_is_ended_first(changed: Checkout, name: str, what: str) -> None:
    """A merge without conflicts leaves nothing changed, and yet waits for its commit."""
    (changed.root / ".git" / name).write_text(changed.git("rev-parse", "HEAD"))
    done = changed.run("ddetr-ops", "0.2.0")
    assert done.returncode == 2
    assert done.stderr == f"release: {what} is under way in {changed.root}: end it first\n"
    assert changed.version("ddetr-ops") == "0.1.0"


def test_a_clone_that_may_lack_tags_is_refused(changed: Checkout, tmp_path: Path) -> None:
    """What has no tag there would be taken for never released."""
    shallow = type(changed)(tmp_path / "shallow")
    changed.git("clone", "--quiet", "--depth=1", changed.root.as_uri(), str(shallow.root))
    for words in (("train",), ("plan",)):
        assert "git fetch --unshallow --tags" in refused(shallow, *words)
    changed.git("tag", "--delete", "ddetr-ops-v0.1.0")
    assert "changelog has 0.1.0 as released, and the tag" in refused(changed, "train")


@pytest.mark.parametrize(
    ("tag", "sentence"),
    [
        ("ddetr-ops-v0.3.0", "ddetr-ops 0.3.0 is out, beyond 0.2.0"),
        ("ddetr-ops-v0.2.0/x", "the tag ddetr-ops-v0.2.0/x leaves no room"),
    ],
)
def test_a_tag_in_the_way_is_refused(changed: Checkout, tag: str, sentence: str) -> None:
    """Of a later release, and of a folder with the new tag's name."""
    changed.git("tag", tag)
    assert sentence in refused(changed)


def test_tags_in_other_spellings_are_none_of_releases(changed: Checkout) -> None:
    """Settings for how tags are shown change nothing either."""
    changed.git("config", "column.tag", "always")
    for tag in ("ddetr-ops-v0.2", "ddetr-ops-v0.2.0-rc1", "ddetr-ops-v00.3.0", "v0.2.0"):
        changed.git("tag", tag)
    assert "1 file changed since ddetr-ops-v0.1.0" in changed.released("plan")
    changed.released("ddetr-ops", "0.2.0")


def test_nobody_to_commit_as_is_told(changed: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything else is done."""
    changed.git("config", "--unset", "user.name")
    changed.git("config", "--unset", "user.email")
    changed.git("config", "user.useConfigOnly", "true")
    monkeypatch.setenv("HOME", str(changed.root / "none"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(changed.root / "none"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    assert "set user.name and user.email" in refused(changed)


def test_variables_of_another_repository_change_nothing(
    changed: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The branch of this one moves, not that of a namespace."""
    monkeypatch.setenv("GIT_NAMESPACE", "elsewhere")
    changed.released("ddetr-ops", "0.2.0")
    assert changed.version("ddetr-ops") == "0.2.0"
    assert "namespaces" not in changed.git("for-each-ref")


@pytest.mark.parametrize(
    ("path", "text", "sentence"),
    [
        ("changelog.d/more.fixed", "x", "more.fixed is no fragment: name it changelog.d/NAME.TYPE"),
        ("changelog.d/fixed.md", "x", "changelog.d/fixed.md is no fragment"),
        ("changelog.d/sub/more.fixed.md", "x", "sub/more.fixed.md is no fragment"),
        ("changelog.d/more.fixed.md", " \n", "more.fixed.md of ddetr-ops is empty: write one"),
        ("changelog.d/more.fixed.md", "\udcfc", "more.fixed.md is not UTF-8 at byte 0"),
        ("src/ddetr_ops/__about__.py", '__version__ = "0.1"', "a version reads like 0.2.0"),
        ("pyproject.toml", "[project", "packages/ddetr-ops/pyproject.toml is no TOML"),
    ],
)
def test_an_odd_file_is_named(changed: Checkout, path: str, text: str, sentence: str) -> None:
    """Nothing of it gets into a changelog."""
    file = changed.root / OPS / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8", errors="surrogateescape")
    changed.git("add", "--all")
    changed.git("commit", "--quiet", "--message", "odd")
    done = changed.run("ddetr-ops", "0.2.0")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert sentence in done.stderr
    assert changed.git("status", "--porcelain") == ""


def test_two_stories_in_a_changelog_are_refused(changed: Checkout) -> None:
    """Two entries that are not released, and one of the version with a day."""
    path = changed.root / OPS / "CHANGELOG.md"
    text = path.read_text()
    changed.write("ddetr-ops/CHANGELOG.md", text + DATED)
    assert "has an entry 0.2.0 with a day" in refused(changed)
    changed.git("rm", "--quiet", f"{OPS}/changelog.d/faster.changed.md")
    changed.write("ddetr-ops/CHANGELOG.md", text + TITLES)
    assert "2 entries that are not released, 0.2.0, 0.1.1" in refused(changed)


def test_a_link_is_not_written_through(changed: Checkout, tmp_path: Path) -> None:
    """What it names may lie outside of the repository."""
    outside = tmp_path / "CHANGELOG.md"
    path = changed.root / OPS / "CHANGELOG.md"
    path.rename(outside)
    path.symlink_to(outside)
    changed.git("commit", "--all", "--quiet", "--message", "a link")
    text = outside.read_text()
    assert "CHANGELOG.md of ddetr-ops is a link" in refused(changed)
    assert outside.read_text() == text


def test_ends_of_lines_stay(changed: Checkout) -> None:
    """Of a changelog that was written under Windows."""
    path = changed.root / OPS / "CHANGELOG.md"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    changed.git("commit", "--all", "--quiet", "--message", "ends of lines")
    changed.released("ddetr-ops", "0.2.0")
    written = path.read_bytes()
    assert b"The operator is faster." in written
    assert written.count(b"\n") == written.count(b"\r\n")


def test_ignored_files_take_no_part(changed: Checkout) -> None:
    """Neither a fragment nor a module that git ignores is in the commit that is released."""
    changed.write("../.gitignore", "mine*\n")
    (changed.root / "packages/ddetr-train/changelog.d/mine.fixed.md").write_text("x")
    (changed.root / "packages/ddetr-model/src/ddetr_model/mine.py").write_text(USED)
    shown = changed.released("plan")
    assert "ddetr-train   0.1.0 stays: nothing has changed" in shown
    assert "nothing," not in shown
    assert "for ddetr_ops.nothing" not in shown


def test_a_name_that_no_version_has_is_refused(changed: Checkout) -> None:
    """The release that is made does not bring it either."""
    changed.write("ddetr-model/src/ddetr_model/__init__.py", USED)
    changed.write("ddetr-model/changelog.d/used.added.md", "It uses more.")
    told = refused(changed, "train")
    assert "ddetr-model uses ddetr_ops.nothing, which ddetr-ops 0.2.0 (its floor) lacks" in told


def test_a_module_that_is_no_python_is_named(changed: Checkout) -> None:
    """With its line."""
    changed.write("ddetr-model/src/ddetr_model/odd.py", "import ddetr_ops\ndef (:\n")
    assert "ddetr_model/odd.py:2 is no Python" in refused(changed)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ddetr-ops", "0.2.0", "--pre", "rc"], "--pre and --raise-floors go with plan and train"),
        (["train", "ddetr-ops=0.2.0", "ddetr-ops=0.1.1"], "ddetr-ops is given twice"),
        (["ddetr-ops", "0.2.0", "more"], "give PACKAGE VERSION"),
        (["ddetr-ops", "0.2.0\n"], "not '0.2.0\\n'"),
        (["ddetr-ops", ""], "not ''"),
        (["train", "--what"], "unrecognized arguments: --what"),
        (["train", "--branch", ""], "the branch is main"),
        (["train", "--pre", "rc", "ddetr-ops=0.3.0"], "not 0.3.0"),
        (["published", "ddetr-ops-v0.1.0", "--wait", "nan"], "--wait takes minutes"),
    ],
)
def test_words_that_do_not_go_together(changed: Checkout, words: list[str], sentence: str) -> None:
    """One sentence, not the whole usage."""
    assert sentence in refused(changed, *words)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_with_a_sentence(
    changed: Checkout, tmp_path: Path, number: signal.Signals
) -> None:
    """It comes while the commit is made, and nothing has changed."""
    hook = changed.root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f'#!/bin/sh\nkill -{int(number)} "$RELEASE"\n')
    hook.chmod(0o755)
    before = changed.state()
    starter = tmp_path / "start.sh"
    starter.write_text('export RELEASE=$$\nexec "$@"\n')
    words = [sys.executable, str(SCRIPT), "train", "--root", str(changed.root)]
    done = subprocess.run(["sh", str(starter), *words], capture_output=True, text=True)
    assert done.returncode == 128 + number
    assert done.stderr == "release: interrupted, and nothing has changed\n"
    assert changed.state() == before


def test_a_plan_that_nobody_reads_is_not_carried_out(changed: Checkout) -> None:
    """The pipe is closed before the first line."""
    before = changed.state()
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, str(SCRIPT), "train", "--root", str(changed.root)]
    done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (2, "release: [Errno 32] Broken pipe\n")
    assert changed.state() == before
