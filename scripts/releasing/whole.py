"""A plan carried out as a whole: the commit is made elsewhere, then everything moves in one step.

A checkout beside the repository, a worktree of git's in the folder for temporary files, takes all
that is written; hooks run there. Whatever fails or is killed on the way leaves files, index, HEAD
and tags as they were. The last step is one `git push` into the repository itself, which moves the
branch, its files and all tags, or none of them.
"""

from __future__ import annotations

import fcntl
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from packaging.version import Version

from releasing import changelog
from releasing.plan import Move, Plan
from releasing.programs import ReleaseError
from releasing.ranges import with_ranges
from releasing.repository import Package, Repository
from releasing.texts import read_text, write_text

PREFIX = "ddetr-release-"
RESERVE_BYTES = 4 * 2**20  # far more than the last step writes; it is freed for taking it back
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A push may change the files of the branch that is checked out; git refuses where they are changed.
RECEIVE = "--receive-pack=git -c receive.denyCurrentBranch=updateInstead receive-pack"


def carry_out(repository: Repository, plan: Plan) -> None:
    """Write versions, changelogs and ranges, commit them, and tag the commit.

    Raises:
        ReleaseError: a program refuses, or there is no room; nothing has changed then.
    """
    before = repository.git("rev-parse", "HEAD")
    branch = repository.git("symbolic-ref", "HEAD")
    with _locked(repository), _checkout(repository, before) as folder:
        copy = Repository(folder)
        for name, package in copy.packages.items():
            _write_ranges(copy, package, plan.moves_of(name))
        for name, release in plan.releases.items():
            _write_release(copy, copy.packages[name], release.version)
        copy.git("add", "--all", "--", "packages")
        copy.git("commit", "--quiet", "--message", _message(plan))
        after = copy.git("rev-parse", "HEAD")
        _publish(repository, branch, before, after, plan.tags)


def _write_release(copy: Repository, package: Package, version: Version) -> None:
    """Write a package's version, and its changelog unless a pre-release leaves that to come."""
    entry = changelog.unreleased_version(package)
    write_text(
        package.about,
        f'"""The version of {package.name}; the only file that states it."""\n\n'
        f'__version__ = "{version}"\n',
    )
    if version.is_prerelease:
        return
    if entry is None:
        changelog.write_entry(copy.root, package, version)
    else:
        changelog.date_entry(package, version)


def _write_ranges(copy: Repository, package: Package, moves: list[Move]) -> None:
    """Write a package's ranges, and say so in its changelog where it has been out with others."""
    if not moves:
        return
    moved = {move.sibling: move.after for move in moves}
    write_text(package.manifest, with_ranges(read_text(package.manifest), moved))
    if changelog.unreleased_version(package) is None and copy.tagged(package.name):
        for sibling, after in moved.items():
            changelog.add_fragment(
                package, f"requires-{sibling}.added.md", f"Requires `{sibling}{after}`."
            )


def _message(plan: Plan) -> str:
    """Give the commit's text: what is released, and ranges that move below."""
    told = [f"{each.package} {each.version}" for each in plan.releases.values()]
    if len(told) == 1:
        name, version = told[0].split()
        title = f"{name}: release {version}"
    else:
        title = f"release {len(told)} packages\n\n" + "\n".join(told)
    moves = [f"{move.package} requires {move.sibling}{move.after}" for move in plan.moves]
    return "\n\n".join([title, "\n".join(moves)]) if moves else title


@contextmanager
def _locked(repository: Repository) -> Iterator[None]:
    """Keep a second release of the repository out."""
    path = repository.root / repository.git("rev-parse", "--git-path", "ddetr-release.lock")
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ReleaseError("another release of this repository is at work") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _checkout(repository: Repository, commit: str) -> Iterator[Path]:
    """Give a checkout of a commit in a temporary folder; those that a kill left behind go too."""
    for line in repository.git("worktree", "list", "--porcelain").splitlines():
        left = Path(line.removeprefix("worktree "))
        if line.startswith("worktree ") and left.parent.name.startswith(PREFIX):
            _remove(repository, left)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX)) / "tree"
    try:
        repository.git("worktree", "add", "--quiet", "--detach", str(folder), commit)
        yield folder
    finally:
        _remove(repository, folder)


def _remove(repository: Repository, folder: Path) -> None:
    shutil.rmtree(folder.parent, ignore_errors=True)
    with suppress(ReleaseError):
        repository.git("worktree", "prune")


def _publish(repository: Repository, branch: str, before: str, after: str, tags: list[str]) -> None:
    """Move the branch with its files, and make the tags: all of it or nothing.

    Signals wait until it is done.
    """
    reserve = repository.root / repository.git("rev-parse", "--git-path", "ddetr-release.reserve")
    specs = [f"{after}:{branch}", *(f"{after}:refs/tags/{tag}" for tag in tags)]
    options = ("--quiet", "--atomic", "--no-verify", "--no-signed", RECEIVE)
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        try:
            reserve.write_bytes(bytes(RESERVE_BYTES))
        except OSError as error:
            raise ReleaseError(f"there is no room for the last step: {error.strerror}") from None
        repository.refuse_changes()  # again: what somebody has begun meanwhile is theirs
        try:
            repository.git("push", *options, ".", *specs)
        except BaseException:
            reserve.unlink()
            _take_back(repository, branch, before, after, tags)
            raise
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)  # one that came meanwhile is too late
    finally:
        reserve.unlink(missing_ok=True)
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)


def _take_back(
    repository: Repository, branch: str, before: str, after: str, tags: list[str]
) -> None:
    """Undo what a push did that says it has failed."""
    for tag in tags:
        with suppress(ReleaseError):
            repository.git("update-ref", "-d", f"refs/tags/{tag}", after)
    with suppress(ReleaseError):
        repository.git("update-ref", branch, before, after)
    if repository.git("rev-parse", branch) != before:
        return  # somebody else's commit came in between, and git has touched nothing
    changed = repository.git("diff", "--name-only", "--no-renames", before, after).splitlines()
    there = set(repository.git("ls-tree", "-r", "--name-only", before).splitlines())
    repository.git("reset", "--quiet", before, "--", *changed)
    repository.git("checkout", "--quiet", before, "--", *sorted(there.intersection(changed)))
    for path in set(changed) - there:
        (repository.root / path).unlink(missing_ok=True)
