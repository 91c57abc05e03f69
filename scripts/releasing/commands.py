"""The commands of scripts/release.py, and what they print."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from packaging.version import Version

from releasing.changelog import notes, package_of_tag
from releasing.crossings import lacking
from releasing.plan import Plan, has_entry, plan_one, plan_train, told
from releasing.programs import ReleaseError
from releasing.published import refuse_unpublished
from releasing.repository import Repository
from releasing.versions import PRE_KINDS, parse_version
from releasing.whole import carry_out

ROOT = Path(__file__).resolve().parent.parent.parent
EXIT_NO, EXIT_REFUSED = 1, 2
MOST_MINUTES = 24 * 60
TRAINS = ("plan", "train")


def main(description: str) -> None:
    """Run what the command line asks for; the exit status is 0, 1 for a no, 2, or a signal's."""
    parser = parser_of_words(description)
    arguments = parser.parse_intermixed_args()
    words = ["check", *arguments.words] if arguments.check else arguments.words
    command, rest = (words[0], words[1:]) if words[0] in COMMANDS else ("release", words)
    run, form, number = COMMANDS[command]
    if number is not None and len(rest) not in number:
        parser.error(f"give {form}")
    if command not in TRAINS and (arguments.pre or arguments.raise_floors):
        parser.error("--pre and --raise-floors go with plan and train; name the version otherwise")
    if not 0 <= arguments.wait <= MOST_MINUTES:
        parser.error(f"--wait takes minutes, from 0 to {MOST_MINUTES}")
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, _stop)
    try:
        run(Repository(arguments.root), rest, arguments)
    except KeyboardInterrupt as stopped:
        came = stopped.args[0] if stopped.args else signal.SIGINT
        print("release: interrupted, and nothing has changed", file=sys.stderr)
        sys.exit(128 + came)
    except (ValueError, OSError) as problem:
        if isinstance(problem, BrokenPipeError):
            _close_output()
        print(f"release: {problem}", file=sys.stderr)
        sys.exit(EXIT_NO if command in ASKING else EXIT_REFUSED)


def _close_output() -> None:
    """Let Python's last flush go nowhere, where nobody reads any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stop(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(number)


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are one sentence, as all others are."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_REFUSED, f"release: {message}; --help tells more\n")


def parser_of_words(description: str) -> argparse.ArgumentParser:
    """Give the command line's parser; which words go together, COMMANDS says."""
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", metavar="WORD", help="as above")
    parser.add_argument("--check", action="store_true", help="the same as the word check")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done")
    parser.add_argument("--branch", help="the branch that is released, for main")
    parser.add_argument("--pre", choices=PRE_KINDS, help="plan, train: pre-releases of this kind")
    parser.add_argument(
        "--raise-floors", action="store_true", help="plan, train: require what is released with it"
    )
    parser.add_argument(
        "--wait", type=float, default=0, metavar="MINUTES", help="published: ask again for so long"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    return parser


def release_one(repository: Repository, words: list[str], arguments: argparse.Namespace) -> None:
    """Release one package; others follow with their ranges alone."""
    name, text = words
    version = parse_version(text)
    repository.refuse_unready(arguments.branch)
    finish(repository, plan_one(repository, name, version), arguments)


def release_train(repository: Repository, words: list[str], arguments: argparse.Namespace) -> None:
    """Release all that has changed."""
    chosen = chosen_versions(words)
    repository.refuse_unready(arguments.branch)
    plan = plan_train(repository, chosen, arguments.pre, arguments.raise_floors)
    if not plan.releases:
        show(repository, plan)
        raise ReleaseError(
            "there is nothing to release: what has changed needs a sentence in changelog.d"
        )
    finish(repository, plan, arguments)


def show_plan(repository: Repository, words: list[str], arguments: argparse.Namespace) -> None:
    """Show what a train would do, from the commit that is checked out."""
    chosen = chosen_versions(words)
    repository.refuse_shallow()
    show(repository, plan_train(repository, chosen, arguments.pre, arguments.raise_floors))


def check_tag(repository: Repository, words: list[str], _arguments: argparse.Namespace) -> None:
    """Refuse a tag that is not PACKAGE-vVERSION with the version that the package states."""
    package, version = package_of_tag(repository, words[0])
    if package.stated != version:
        raise ReleaseError(f"{words[0]} disagrees with __about__, which states {package.stated}")


def show_notes(repository: Repository, words: list[str], _arguments: argparse.Namespace) -> None:
    """Print what the changelog says of a tag."""
    sys.stdout.write(notes(repository, words[0]))


def check_floors(repository: Repository, words: list[str], _arguments: argparse.Namespace) -> None:
    """Name what packages use of siblings that the floors of their ranges lack.

    What the next release of the sibling mends is only told; of a tag nothing may be left.
    """
    users = [package_of_tag(repository, words[0])[0]] if words else repository.packages.values()
    wrong = []
    for user in users:
        for name, wanted in repository.ranges(user).items():
            sibling = repository.package(name)
            for use in lacking(repository, user, sibling, wanted.floor):
                sentence = f"{told(use, sibling, wanted.floor)}; see {use.source}"
                if not words and has_entry(sibling):
                    print(f"{sentence}; the next release of {name} moves the floor")
                elif words:
                    wrong.append(f"{sentence}: release {name} first")
                else:
                    wrong.append(f"{sentence}: give {name} a line in its changelog")
    if wrong:
        raise ReleaseError("\nrelease: ".join(wrong))


def check_published(
    repository: Repository, words: list[str], arguments: argparse.Namespace
) -> None:
    """Refuse a tag whose siblings the index does not have yet."""
    refuse_unpublished(repository, words[0], arguments.wait)


def chosen_versions(words: list[str]) -> dict[str, Version]:
    """Read PACKAGE=VERSION words."""
    chosen = {}
    for word in words:
        name, found, text = word.partition("=")
        if not found:
            raise ReleaseError(f"give PACKAGE=VERSION, not {word}")
        if name in chosen:
            raise ReleaseError(f"{name} is given twice")
        chosen[name] = parse_version(text)
    return chosen


def finish(repository: Repository, plan: Plan, arguments: argparse.Namespace) -> None:
    """Show a plan and carry it out."""
    show(repository, plan)
    sys.stdout.flush()  # whoever cannot be told is told of before anything is done
    if arguments.dry_run:
        return
    carry_out(repository, plan)
    lines = ["committed and tagged; publish with", "    git push origin HEAD"]
    # A push of more than three tags at once starts no workflow.
    lines += [f"    git push origin {tag}" for tag in plan.tags]
    try:
        print("\n".join(lines), flush=True)
    except OSError:
        _close_output()  # it is done all the same


def show(repository: Repository, plan: Plan) -> None:
    """Print each package with its version, and the ranges that move."""
    for name, package in repository.packages.items():
        planned = plan.releases.get(name)
        if planned:
            print(f"{name:14}{planned.before} -> {planned.version}  {planned.why}")
        elif name in plan.left_out:
            print(f"{name:14}{package.stated} stays: {plan.left_out[name]}")
        for move in plan.moves_of(name):
            names = f", for {', '.join(move.names)}" if move.names else ""
            print(f"    {name} requires {move.sibling}{move.after}, not {move.before}{names}")


Command = Callable[[Repository, list[str], argparse.Namespace], None]
ASKING = ("check", "floors", "notes", "published")
# What each takes after its name: in words, and how many; None for any number.
COMMANDS: dict[str, tuple[Command, str, tuple[int, ...] | None]] = {
    "release": (release_one, "PACKAGE VERSION, or a command of --help", (2,)),
    "plan": (show_plan, "PACKAGE=VERSION", None),
    "train": (release_train, "PACKAGE=VERSION", None),
    "check": (check_tag, "check TAG", (1,)),
    "notes": (show_notes, "notes TAG", (1,)),
    "floors": (check_floors, "floors, or floors TAG", (0, 1)),
    "published": (check_published, "published TAG", (1,)),
}
