"""Parts that an extra of a package installs, asked for so that others can ask in their own name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ddetr_data.faults import DataError


@dataclass(frozen=True)
class InstallHint:
    """How to get a part; as text it is the command that installs it."""

    extra: str
    package: str = "ddetr-data"

    def __str__(self) -> str:
        return f"pip install '{self.package}[{self.extra}]'"

    def of(self, package: str) -> InstallHint:
        """Name the same extra of another package, which passes it on."""
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
        """Ask for the same extra of another package, which passes it on."""
        return MissingExtraError(self.need, self.hint.of(package), self.otherwise)
