"""Whether the index has the siblings that a tagged package requires."""

from __future__ import annotations

import time

from releasing.changelog import package_of_tag
from releasing.programs import ReleaseError, run
from releasing.repository import Repository

POLL_SECONDS = 30


def refuse_unpublished(repository: Repository, tag: str, wait_minutes: float) -> None:
    """Refuse a tag whose siblings cannot be installed yet, each in its floor's version.

    uv asks the index; which one, its own settings say (UV_DEFAULT_INDEX and the like).

    Args:
        repository: the tag's checkout.
        tag: PACKAGE-vVERSION.
        wait_minutes: how long to ask again, since a train's tags are built side by side.

    Raises:
        ReleaseError: one is missing; the text names it.
    """
    package, version = package_of_tag(repository, tag)
    until = time.monotonic() + 60 * wait_minutes
    for sibling, wanted in repository.ranges(package).items():
        pinned = f"{sibling}=={wanted.floor}"
        while not _is_published(repository, pinned):
            if time.monotonic() > until:
                raise ReleaseError(
                    f"{package.name} {version} requires {sibling}{wanted}, and the index has no "
                    f"{sibling} {wanted.floor} yet: publish that first"
                )
            time.sleep(min(POLL_SECONDS, max(0.0, until - time.monotonic()) + 0.1))


def _is_published(repository: Repository, pinned: str) -> bool:
    options = ("--quiet", "--no-deps", "--refresh", "--dry-run", "--target", ".published")
    try:
        run("uv", "pip", "install", *options, pinned, cwd=repository.root)
    except ReleaseError as error:
        if "No solution found" in str(error):
            return False
        raise
    return True
