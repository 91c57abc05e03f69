"""Release packages: set versions, complete changelogs, move siblings' ranges, commit and tag.

    .venv/bin/python scripts/release.py plan              # what has changed, and what would be done
    .venv/bin/python scripts/release.py train             # do it: one commit, a tag a package
    .venv/bin/python scripts/release.py ddetr-ops 0.2.0   # one package alone
    .venv/bin/python scripts/release.py check TAG         # 1 when tag and __about__ disagree
    .venv/bin/python scripts/release.py notes TAG         # what the changelog says of it
    .venv/bin/python scripts/release.py floors [TAG]      # 1 when a sibling's floor lacks a name
    .venv/bin/python scripts/release.py published TAG     # 1 when the index lacks a floor

plan and train take PACKAGE=VERSION for versions of your own. An entry that stands in the changelog
as unreleased gets the date of today; without one the entry is made of the fragments in
changelog.d/, and a pre-release leaves both as they are. Nothing is pushed; the release workflow
publishes what a pushed tag names.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line, where what it needs is installed."""
    if find_spec("packaging") is None:
        sys.stderr.write("release: packaging is not installed here: use .venv/bin/python\n")
        sys.exit(2)
    from releasing.commands import main as run

    run(__doc__)


if __name__ == "__main__":
    main()
