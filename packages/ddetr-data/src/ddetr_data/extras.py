"""Errors for optional libraries that are missing, with the command that installs them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ddetr_data.faults import DataError


@dataclass(frozen=True)
class InstallHint:
    """Which extra of which package brings a library; as text, the command that installs it."""

    extra: str
    package: str = "ddetr-data"

    def __str__(self) -> str:
        return f"pip install '{self.package}[{self.extra}]'"

    def of(self, package: str) -> InstallHint:
        """Name the extra of a package that depends on this one: what its user has installed."""
        return replace(self, package=package)


class MissingExtraError(DataError):
    """A library that an extra installs is not there; the text says how to get it."""

    def __init__(self, need: str, hint: InstallHint, otherwise: str = "") -> None:
        """Join `<need>: <hint><otherwise>`."""
        super().__init__(need, hint, otherwise)
        self.need, self.hint, self.otherwise = need, hint, otherwise

    def __str__(self) -> str:
        return f"{self.need}: {self.hint}{self.otherwise}"

    def of(self, package: str) -> MissingExtraError:
        """Give the same error with the extra of a package that depends on this one."""
        return MissingExtraError(self.need, self.hint.of(package), self.otherwise)
