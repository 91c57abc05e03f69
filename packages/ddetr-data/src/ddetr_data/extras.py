"""Errors for optional libraries that are missing, with the command that installs them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec

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


def check_installed(module: str, need: str, hint: InstallHint, otherwise: str = "") -> None:
    """Check that a library is installed, without loading it.

    Args:
        module: its name where it is imported.
        need: what needs it; the error begins with this.
        hint: what installs it.
        otherwise: what else can be done; the end of the error.

    Raises:
        MissingExtraError: it is not installed.
    """
    if find_spec(module) is None:
        raise MissingExtraError(need, hint, otherwise)
