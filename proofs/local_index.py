"""A package index on this machine, for as long as a proof needs it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

__all__ = ["LocalIndex"]

STARTS_WITHIN_SECONDS = 20


class LocalIndex:
    """pypiserver on the loopback, over an empty folder, without passwords and other indexes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/simple/"

    @property
    def upload_options(self) -> tuple[str, ...]:
        """What `uv publish` needs to know."""
        where = f"http://127.0.0.1:{self.port}/"
        return ("--publish-url", where, "--username", "any", "--password", "any")

    def __enter__(self) -> LocalIndex:
        self.folder.mkdir()
        options = ("--interface", "127.0.0.1", "--port", str(self.port), "--disable-fallback")
        words = ("-m", "pypiserver", "run", *options, "-P", ".", "-a", ".", str(self.folder))
        self.server = subprocess.Popen(
            [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + STARTS_WITHIN_SECONDS
        while not self._answers():
            if self.server.poll() is not None or time.monotonic() > until:
                self.server.kill()
                raise RuntimeError("pypiserver does not start")
            time.sleep(0.1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.terminate()
        self.server.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url, timeout=1):
                return True
        except (urllib.error.URLError, OSError):
            return False
