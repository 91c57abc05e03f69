"""What a release, or a train of them, changes: versions, and ranges of whoever requires them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from packaging.version import Version

from releasing import changelog
from releasing.crossings import Use, lacking, lowest_with_all
from releasing.programs import ReleaseError
from releasing.ranges import Range
from releasing.repository import Package, Repository, tag_of
from releasing.versions import Level, as_prerelease, followers, may_follow, raised

STRENGTH: tuple[Level, ...] = ("fix", "feature", "breaking")


@dataclass(frozen=True)
class Move:
    """A range of a sibling that changes."""

    package: str
    sibling: str
    before: Range
    after: Range
    names: tuple[str, ...] = ()  # used by the package, and not given by the floor before


@dataclass(frozen=True)
class Release:
    """A package that gets a version."""

    package: str
    before: Version
    version: Version
    why: str


@dataclass
class Plan:
    """All that one commit does."""

    releases: dict[str, Release] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # why no release is planned

    @property
    def tags(self) -> list[str]:
        return [tag_of(name, each.version) for name, each in self.releases.items()]

    def moves_of(self, package: str) -> list[Move]:
        return [move for move in self.moves if move.package == package]

    def version_of(self, package: Package) -> Version:
        """The version that a package states when the plan is carried out."""
        released = self.releases.get(package.name)
        return released.version if released else package.stated


def plan_one(repository: Repository, name: str, version: Version) -> Plan:
    """Plan the release of one package, and what its siblings' ranges need for it.

    Raises:
        ReleaseError: it may not be released so.
    """
    plan = Plan()
    _add(repository, plan, repository.package(name), version, "asked for")
    _refuse_unfit(repository, plan)
    return plan


def plan_train(
    repository: Repository,
    chosen: Mapping[str, Version],
    kind: str | None = None,
    raise_floors: bool = False,
) -> Plan:
    """Plan a release of every package that has changed, whoever is required first.

    Args:
        repository: where the packages are.
        chosen: versions of packages that get another than their changelogs ask for.
        kind: dev, a, b or rc for a train of pre-releases.
        raise_floors: whether ranges begin with each version that is released.

    Raises:
        ReleaseError: one may not be released so.
    """
    for name in chosen:
        repository.package(name)
    plan = Plan()
    for package in repository.packages.values():
        why = _why(repository, plan, package, kind)
        if package.name in chosen:
            version = chosen[package.name]
        elif not why:
            plan.left_out[package.name] = "nothing has changed"
            continue
        elif (found := _next(plan, package, kind)) is None:
            plan.left_out[package.name] = f"{why}, and its changelog says nothing"
            continue
        else:
            version = found
        _add(repository, plan, package, version, why or "asked for", raise_floors)
    _refuse_unfit(repository, plan)
    return plan


def has_entry(package: Package) -> bool:
    """Tell whether a package's changelog has something to release."""
    return bool(changelog.unreleased_version(package) or changelog.fragments_of(package))


def _why(repository: Repository, plan: Plan, package: Package, kind: str | None) -> str:
    """Say what has changed since a package's last tag; nothing where nothing has."""
    if moves := plan.moves_of(package.name):
        return f"takes {', '.join(f'{move.sibling}{move.after}' for move in moves)}"
    tagged = repository.tagged(package.name)
    if not tagged:
        return "never released"
    last = tag_of(package.name, tagged[-1])
    if tagged[-1].is_prerelease and kind is None:
        return f"only {last} is out"
    changed = repository.git("diff", "--name-only", last, "HEAD", "--", f"packages/{package.name}")
    number = len(changed.splitlines())
    return f"{number} file{'s' * (number > 1)} changed since {last}" if number else ""


def _next(plan: Plan, package: Package, kind: str | None) -> Version | None:
    """Give the version that a package's changelog asks for."""
    release = changelog.unreleased_version(package)
    if release is None:
        levels = [*changelog.fragments_of(package).values()]
        levels += ["feature"] * bool(plan.moves_of(package.name))
        if not levels:
            return None
        release = raised(package.stated, max(levels, key=STRENGTH.index))
    return as_prerelease(package.stated, release, kind) if kind else release


def _add(
    repository: Repository,
    plan: Plan,
    package: Package,
    version: Version,
    why: str,
    raise_floors: bool = False,
) -> None:
    """Put a release into a plan, with the ranges of whoever requires the package."""
    _refuse_version(repository, package, version, bool(plan.moves_of(package.name)))
    plan.moves += _to_released_floors(repository, plan, package)
    plan.releases[package.name] = Release(package.name, package.stated, version, why)
    for user in repository.packages.values():
        before = repository.ranges(user).get(package.name)
        if before is None:
            continue
        names = tuple(map(str, _newly_used(repository, user, package, before.floor)))
        after = before.moved(version, needed=raise_floors or bool(names))
        if after != before:
            plan.moves.append(Move(user.name, package.name, before, after, names))


def _to_released_floors(repository: Repository, plan: Plan, package: Package) -> Iterator[Move]:
    """Yield ranges of a package that must begin with a later version, one that is out already."""
    moved = {move.sibling for move in plan.moves_of(package.name)}
    for name, before in repository.ranges(package).items():
        if name in moved:
            continue
        sibling = repository.packages[name]
        names = tuple(map(str, _newly_used(repository, package, sibling, before.floor)))
        floor = lowest_with_all(repository, package, sibling, before.floor) if names else None
        if floor is not None and before.admits(floor):
            yield Move(package.name, name, before, Range(floor, before.below), names)


def _newly_used(
    repository: Repository, user: Package, sibling: Package, floor: Version
) -> Iterator[Use]:
    """Yield what a package uses of a sibling that the floor, if it was ever out, lacks."""
    if floor in repository.tagged(sibling.name):
        yield from lacking(repository, user, sibling, floor)


def _refuse_version(
    repository: Repository, package: Package, version: Version, moved: bool
) -> None:
    """Refuse a version that may not come next, or has nothing in the changelog.

    Raises:
        ReleaseError: the version, the tag or the changelog.
    """
    name, stated = package.name, package.stated
    entry = changelog.unreleased_version(package)
    own = entry is not None and version.base_version == str(entry)
    if entry is not None and not own:
        raise ReleaseError(f"{name}'s changelog has {entry} as unreleased: release that first")
    if tag_of(name, version) in repository.tags:
        raise ReleaseError(
            f"the tag {tag_of(name, version)} exists: {name} {version} is released already"
        )
    if not (own and not version.is_postrelease and str(stated) == str(entry)):
        # else it is, of what is stated and never was released, a pre-release or the release itself
        _refuse_no_follower(package, version)
        if entry is None and not changelog.fragments_of(package) and not moved:
            raise ReleaseError(f"packages/{name}/changelog.d is empty: nothing has changed")
    if entry is None and not version.is_prerelease:
        changelog.refuse_no_towncrier(package)
    _refuse_odd_tags(repository, package, version)


def _refuse_no_follower(package: Package, version: Version) -> None:
    """Refuse a version that does not come after the one that is stated."""
    name, stated = package.name, package.stated
    following = ", ".join(map(str, followers(stated)))
    if version == stated:
        raise ReleaseError(f"{name} is at {stated} already, after which come {following}")
    if version < stated:
        raise ReleaseError(f"{name} is at {stated}, beyond {version}: after it come {following}")
    if not may_follow(stated, version):
        raise ReleaseError(f"{name} is at {stated}, after which come {following}, not {version}")


def _refuse_odd_tags(repository: Repository, package: Package, version: Version) -> None:
    """Refuse where tags and changelog do not tell the same story as the version that is stated.

    Raises:
        ReleaseError: a tag is beyond the version, or one is missing or in the way.
    """
    name, stated = package.name, package.stated
    below = repository.tagged(name, repository.tags_below)
    if below and below[-1] > max(version, stated):
        raise ReleaseError(
            f"{name} {below[-1]} is out, beyond {version}: state it in {package.about.name}, or "
            f"remove the tag {tag_of(name, below[-1])}"
        )
    for tag in repository.tags:
        if tag.startswith(f"{tag_of(name, version)}/"):
            raise ReleaseError(f"the tag {tag} leaves no room for {tag_of(name, version)}")
    if stated not in repository.tagged(name) and changelog.is_dated(package, stated):
        raise ReleaseError(
            f"{name}'s changelog has {stated} as released, and the tag {tag_of(name, stated)} is "
            f"not here: get it with `git fetch --tags`"
        )
    if version != stated and changelog.is_dated(package, version):
        raise ReleaseError(f"{name}'s changelog has an entry {version} with a day: take that away")


def _refuse_unfit(repository: Repository, plan: Plan) -> None:
    """Refuse a plan after which two packages would not go together.

    Raises:
        ReleaseError: a range does not take a sibling, or lacks a name that is used.
    """
    for user in repository.packages.values():
        moved = {move.sibling: move.after for move in plan.moves_of(user.name)}
        for name, before in repository.ranges(user).items():
            sibling, wanted = repository.packages[name], moved.get(name, before)
            version = plan.version_of(sibling)
            if not wanted.admits(version):
                raise ReleaseError(
                    f"{user.name} requires {name}{wanted}, which does not take {version}"
                )
            if user.name in plan.releases:
                _refuse_release(repository, plan, user, sibling, wanted)


def _refuse_release(
    repository: Repository, plan: Plan, user: Package, sibling: Package, wanted: Range
) -> None:
    """Refuse the release of a package whose floor of a sibling is too low, or a pre-release."""
    version = plan.releases[user.name].version
    if wanted.floor.is_prerelease and not version.is_prerelease:
        raise ReleaseError(
            f"{user.name} {version} would require {sibling.name}{wanted}, from a pre-release on: "
            f"release {sibling.name} first"
        )
    is_made = wanted.floor == plan.version_of(sibling) and sibling.name in plan.releases
    for use in lacking(repository, user, sibling, wanted.floor, is_made):
        what = (
            f"let its __all__ give it; see {use.source}"
            if is_made
            else f"release {sibling.name} first"
        )
        raise ReleaseError(f"{told(use, sibling, wanted.floor)}: {what}")


def told(use: Use, sibling: Package, floor: Version) -> str:
    """Say that a package uses what the floor of its range lacks."""
    return f"{use.user} uses {use}, which {sibling.name} {floor} (its floor) lacks"
