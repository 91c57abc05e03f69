"""Whether the installed versions fit together: what our packages require, and what is there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

SIBLINGS = ("ddetr-ops", "ddetr-data", "ddetr-model", "ddetr-train", "ddetr-export", "ddetr-cli")


@dataclass(frozen=True)
class Misfit:
    """A requirement of one of our packages that what is installed does not meet."""

    package: str  # that requires it, with its version
    name: str
    wanted: str  # versions, such as ">=0.1,<0.2"
    found: str | None  # None: it is not installed

    def __str__(self) -> str:
        found = "which is not installed" if self.found is None else f"and {self.found} is installed"
        return f"{self.package} needs {self.name}{self.wanted}, {found}"


def find_misfits(names: Collection[str] = ()) -> list[Misfit]:
    """Compare what our installed packages require with what is installed.

    Extras count where one of them asks another for one.

    Args:
        names: Distributions to look at; none of them: all that are required.
    """
    found = dict.fromkeys(
        misfit
        for package in SIBLINGS
        for misfit in _misfits_of(package, frozenset(), {canonicalize_name(name) for name in names})
    )
    return list(found)


def sentence_of(misfits: Sequence[Misfit]) -> str:
    """Say what does not fit, and the command that mends it."""
    return f"{'; '.join(map(str, misfits))}: {_remedy(misfits)}"


def _misfits_of(package: str, extras: frozenset[str], names: set[str]) -> Iterator[Misfit]:
    try:
        owner = distribution(package)
    except PackageNotFoundError:
        return
    for line in owner.requires or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            yield Misfit(f"{package} {owner.version}", line, "", None)
            continue
        if not _applies(requirement, extras):
            continue
        name = canonicalize_name(requirement.name)
        if not names or name in names:
            found = _installed(name)
            if found is None or not requirement.specifier.contains(found, prereleases=True):
                wanted = ",".join(sorted(map(str, requirement.specifier), reverse=True))
                yield Misfit(f"{package} {owner.version}", name, wanted, found)
        if name in SIBLINGS and requirement.extras:
            yield from _misfits_of(name, frozenset(requirement.extras), names)


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    """Whether the package, or one of these extras of it, needs this here."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _installed(name: str) -> str | None:
    try:
        return version(name) or None  # what an interrupted removal leaves has none
    except PackageNotFoundError:
        return None


def _remedy(misfits: Sequence[Misfit]) -> str:
    """Name our packages together, whose newest versions fit; of others, the versions needed."""
    ours = [name for name in SIBLINGS if _installed(name)]
    wanted = [f"'{it.name}{it.wanted}'" for it in misfits if it.name not in SIBLINGS]
    missing = [it.name for it in misfits if it.name in SIBLINGS and it.found is None]
    mixed = any(it.name in SIBLINGS for it in misfits)
    words = [*(ours if mixed else ()), *missing, *wanted]
    return f"pip install --upgrade {' '.join(dict.fromkeys(words))}"
