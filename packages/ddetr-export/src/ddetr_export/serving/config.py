"""What `ddetr serve` can be told and what it allows: options, defaults, ranges and meanings.

Only the standard library is imported, since the command line takes its options from here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["ServeConfig"]


def _said(help_text: str, **more: Any) -> dict[str, Any]:
    """What a command line says of a field: help, min, max and metavar, as typer has them."""
    return {"help": help_text, **more}


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Where a server listens, and what its clients may ask of it.

    Raises:
        ValueError: a value is outside of its range.
    """

    host: str = field(default="127.0.0.1", metadata=_said("Address to listen at."))
    port: int = field(default=8000, metadata=_said("0 takes a free one.", min=0, max=65535))
    allow_host: list[str] | None = field(
        default=None,
        metadata=_said(
            "Host that clients may name, besides loopback's and the address listened at; give "
            "it again for another; * for any.",
            metavar="NAME",
        ),
    )
    max_upload_mib: int = field(default=20, metadata=_said("Largest image file.", min=1, max=1024))
    max_megapixels: int = field(
        default=100, metadata=_said("Most pixels of an image, in 10**6.", min=1, max=178)
    )
    max_side_pixels: int = field(
        default=20_000, metadata=_said("Longest side of an image.", min=1, max=10**6)
    )
    max_scans: int = field(
        default=100, metadata=_said("Most scans of a progressive JPEG.", min=1, max=10_000)
    )
    max_waiting: int = field(
        default=16,
        metadata=_said(
            "Most requests at a time, from the first byte of an image to its answer.", min=1, max=32
        ),
    )
    min_upload_kib_s: float = field(
        default=16.0,
        metadata=_said(
            "An upload slower than so many KiB a second is not counted, and ends first.",
            min=0,
            max=10**6,
        ),
    )
    max_connections: int = field(
        default=128,
        metadata=_said(
            "Most connections; one without a request gives way to a new one.", min=1, max=10_000
        ),
    )
    max_header_kib: int = field(
        default=16, metadata=_said("Largest headers of a request.", min=1, max=1024)
    )
    header_seconds: float = field(
        default=10.0, metadata=_said("Time for the headers of a request.", min=0.1, max=3600)
    )
    body_seconds: float = field(
        default=30.0,
        metadata=_said(
            "Time for an image to arrive, and for an answer to be taken.", min=0.1, max=3600
        ),
    )
    keep_alive_seconds: int = field(
        default=5, metadata=_said("Time that a connection may idle.", min=1, max=3600)
    )
    stop_seconds: int = field(
        default=5,
        metadata=_said("Time for requests under way once the server is to stop.", min=0, max=9),
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            least, most = each.metadata.get("min"), each.metadata.get("max")
            if least is None or most is None:
                continue
            value, is_whole = getattr(self, each.name), isinstance(each.default, int)
            kinds = int if is_whole else (int, float)
            is_number = isinstance(value, kinds) and not isinstance(value, bool)
            if not (is_number and math.isfinite(value) and least <= value <= most):
                kind = "a whole number" if is_whole else "a number"
                raise ValueError(f"{each.name} must be {kind} from {least} to {most}, got {value}")

    @property
    def upload_bytes(self) -> int:
        """Largest image file."""
        return self.max_upload_mib << 20
