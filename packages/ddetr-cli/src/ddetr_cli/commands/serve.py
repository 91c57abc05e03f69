"""`ddetr serve`: detection over HTTP with an exported file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ddetr_cli.spec import KEY_VARIABLE
from ddetr_cli.terminal import RunConsole


@dataclass(frozen=True)
class ServeOptions:
    """What the command line says."""

    model: Path
    host: str
    port: int
    max_upload_mib: int


def serve_model(options: ServeOptions, console: RunConsole) -> int:
    """Answer until interrupted; the key of an encrypted file is the environment's."""
    from ddetr_export import open_detector, serve

    key = os.environ.get(KEY_VARIABLE) or None
    detector = open_detector(options.model, encryption_key=key)
    serve(
        detector,
        host=options.host,
        port=options.port,
        max_upload_mib=options.max_upload_mib,
        on_ready=lambda address: console.say(
            f"{detector.description}; "
            f"open {address} or post images to {address}/predict; Ctrl+C ends it"
        ),
    )
    return 0
