"""Programs that a release calls, and how their refusals are told."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

# Set where git calls this from a hook, and of another repository or index than the one named here.
FOREIGN = (
    *("GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE"),
)
# Lines of a program that tell a releaser nothing.
NOISE = ("hint: ", "To .", "error: failed to push some refs")


class ReleaseError(ValueError):
    """A release that may not be made, or cannot be; the text is one sentence."""


def run(*words: str, cwd: Path) -> str:
    """Run a program and give what it printed.

    Raises:
        ReleaseError: it is missing, or it fails; the text has what it said.
    """
    if shutil.which(words[0]) is None:
        raise ReleaseError(f"{words[0]} is not on the PATH")
    environment = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    settings = int(environment.get("GIT_CONFIG_COUNT") or 0)
    environment |= {
        "GIT_CONFIG_COUNT": str(settings + 1),
        f"GIT_CONFIG_KEY_{settings}": "core.quotePath",  # names come as they are
        f"GIT_CONFIG_VALUE_{settings}": "false",
    }
    done = subprocess.run(
        words,
        cwd=cwd,
        env=environment | {"LC_ALL": "C.UTF-8"},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout).splitlines()
        if lines and lines[0].startswith("Traceback "):
            lines = lines[-1:]
        telling = [line.removeprefix("remote: ") for line in lines if not line.startswith(NOISE)]
        telling = [line for line in telling if not line.startswith(" ! [")] or telling
        told = " ".join(" ".join(telling).split()) or f"status {done.returncode}"
        program = " ".join(words[2:4] if words[1] == "-m" else words[:2])
        raise ReleaseError(f"{program} fails: {told}")
    return done.stdout
